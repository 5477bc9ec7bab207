//! What a broker answers, cut at any place: one reply a message, all the same if all is well.

use super::Intake;

#[derive(Debug)]
pub struct Replies {
    language: Language,
    /// Replies that have not been looked at to their end.
    pending: Vec<u8>,
}

/// The first line of a reply that is no consent.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub Vec<u8>);

#[derive(Debug, Clone, Copy)]
enum Language {
    Resp,
    Http,
}

impl Replies {
    pub fn new(intake: &Intake) -> Self {
        let language = match intake {
            Intake::Publish(_) | Intake::PublishEnvelope(_) => Language::Resp,
            Intake::Post(_) => Language::Http,
        };
        Self { language, pending: Vec::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Takes the replies that are whole; how many there were.
    pub fn take(&mut self) -> Result<u64, Refusal> {
        let (mut count, mut at) = (0, 0);
        let reply = match self.language {
            Language::Resp => resp,
            Language::Http => http,
        };
        while let Some(length) = reply(&self.pending[at..])? {
            count += 1;
            at += length;
        }
        self.pending.drain(..at);
        Ok(count)
    }
}

/// The length of the reply at the front, if it is whole: `:1` of PUBLISH, `+OK` of AUTH.
fn resp(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    match bytes[0] {
        b':' | b'+' => Ok(Some(end + 1)),
        _ => Err(Refusal(bytes[..end].trim_ascii().to_vec())),
    }
}

/// The length of the response at the front, if it is whole. Its body is of a stated length, or none.
fn http(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let mut lines = bytes[..end].split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let status = lines.next().unwrap_or_default();
    if !(status.starts_with(b"HTTP/1.1 2") || status.starts_with(b"HTTP/1.0 2")) {
        return Err(Refusal(status.to_vec()));
    }
    let body_bytes = lines.find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let is_length = line[..colon].eq_ignore_ascii_case(b"content-length");
        is_length.then(|| std::str::from_utf8(line[colon + 1..].trim_ascii()).ok()?.parse().ok()).flatten()
    });
    let length = end + 4 + body_bytes.unwrap_or(0_usize).min(BODY_BYTES_MAX);
    Ok((length <= bytes.len()).then_some(length))
}

/// No broker has more to say about a message.
const BODY_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(language: Language) -> Replies {
        Replies { language, pending: Vec::new() }
    }

    const HTTP: &[u8] =
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\n\r\n\rHTTP/1.1 201 Created\r\n\r\n";

    #[test]
    fn replies_cut_at_any_place_are_counted() {
        for (language, bytes) in [(Language::Resp, &b"+OK\r\n:12\r\n"[..]), (Language::Http, HTTP)] {
            for cut in 0..=bytes.len() {
                let mut replies = replies(language);
                let mut count = 0;
                for part in [&bytes[..cut], &bytes[cut..]] {
                    replies.push(part);
                    count += replies.take().unwrap();
                }
                assert_eq!((count, replies.pending.len()), (2, 0), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_refusal_is_quoted() {
        let mut resp = replies(Language::Resp);
        resp.push(b":1\r\n-NOPERM no\r\n");
        assert_eq!(resp.take(), Err(Refusal(b"-NOPERM no".to_vec())));
        let mut http = replies(Language::Http);
        http.push(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(http.take(), Err(Refusal(b"HTTP/1.1 403 Forbidden".to_vec())));
    }
}
