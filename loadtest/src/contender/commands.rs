//! The one Redis command that the bare loops know, taken from a publisher's bytes.

/// Bytes of one publisher, cut anywhere.
#[derive(Debug, Default)]
pub struct Commands {
    pending: Vec<u8>,
    /// So many of them have been taken.
    taken: usize,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    pub channel: &'a [u8],
    pub payload: &'a [u8],
}

/// This was no `PUBLISH` as an array of bulk strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPublish;

impl Commands {
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.drain(..std::mem::take(&mut self.taken));
        self.pending.extend_from_slice(bytes);
    }

    /// The next `PUBLISH`.
    // Hot: once per message; nothing is copied or allocated.
    pub fn take(&mut self) -> Result<Option<Publish<'_>>, NotPublish> {
        let Some((words, length)) = array(&self.pending[self.taken..])? else { return Ok(None) };
        let [name, channel, payload] = words;
        if !name.eq_ignore_ascii_case(b"PUBLISH") {
            return Err(NotPublish);
        }
        self.taken += length;
        Ok(Some(Publish { channel, payload }))
    }
}

type Words<'a> = [&'a [u8]; PUBLISH_WORDS];

/// The words of the array at the front if it is whole, and its length.
fn array(bytes: &[u8]) -> Result<Option<(Words<'_>, usize)>, NotPublish> {
    let Some((count, mut at)) = number(bytes, 0, b'*')? else { return Ok(None) };
    if count != PUBLISH_WORDS {
        return Err(NotPublish);
    }
    let mut words: Words<'_> = [&[]; PUBLISH_WORDS];
    for place in &mut words {
        let Some((length, start)) = number(bytes, at, b'$')? else { return Ok(None) };
        let Some(word) = bytes.get(start..start + length) else { return Ok(None) };
        at = start + length + 2;
        match bytes.get(start + length..at) {
            None => return Ok(None),
            Some(b"\r\n") => *place = word,
            Some(_) => return Err(NotPublish),
        }
    }
    Ok(Some((words, at)))
}

const PUBLISH_WORDS: usize = 3;
const LENGTH_MAX: usize = 512 << 20;

/// The number after `mark` at `at`, and where its line ends.
fn number(bytes: &[u8], at: usize, mark: u8) -> Result<Option<(usize, usize)>, NotPublish> {
    let Some(line) = bytes.get(at..).filter(|line| !line.is_empty()) else { return Ok(None) };
    if line[0] != mark {
        return Err(NotPublish);
    }
    let Some(end) = line.windows(2).take(16).position(|window| window == b"\r\n") else {
        return if line.len() > 16 { Err(NotPublish) } else { Ok(None) };
    };
    let number = std::str::from_utf8(&line[1..end]).ok().and_then(|text| text.parse::<usize>().ok());
    number.filter(|&number| number <= LENGTH_MAX).map(|number| Some((number, at + end + 2))).ok_or(NotPublish)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] =
        b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$4\r\na\r\nb\r\n*3\r\n$7\r\npublish\r\n$1\r\nc\r\n$0\r\n\r\n";

    #[test]
    fn commands_cut_at_any_place_are_taken() {
        for cut in 0..=TWO.len() {
            let (mut commands, mut payloads) = (Commands::default(), Vec::new());
            for part in [&TWO[..cut], &TWO[cut..]] {
                commands.push(part);
                while let Some(Publish { channel, payload }) = commands.take().unwrap() {
                    assert_eq!(channel, b"c");
                    payloads.push(payload.to_vec());
                }
            }
            assert_eq!(payloads, [b"a\r\nb".to_vec(), b"".to_vec()], "cut at {cut}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [
            b"PING\r\n".as_slice(),
            b"*1\r\n$4\r\nPING\r\n",
            b"*3\r\n$7\r\nPUBLISH\r\n$1\r\ncc\r\n$0\r\n\r\n",
            b"*3\r\n$9999999999\r\n",
            b"*3\r\n$-1\r\n",
            b"*00000000000000000000",
        ] {
            let mut commands = Commands::default();
            commands.push(bytes);
            assert_eq!(commands.take(), Err(NotPublish), "{}", bytes.escape_ascii());
        }
    }
}
