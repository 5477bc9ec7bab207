//! Takes the chunks off an HTTP/1.1 body (RFC 9112, section 7.1), for servers behind a proxy that puts them on.
//!
//! courier's own streams have none. Bytes may be cut anywhere; trailers are not looked at, since a stream has no end
//! that matters.

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Chunked {
    /// Before or within the hexadecimal size.
    #[default]
    Start,
    Size(u64),
    /// Behind the size: an extension, or the carriage return.
    SizeLine(u64),
    Data(u64),
    /// The line end behind a chunk's data.
    DataEnd,
    /// The last chunk was there.
    Ended,
}

/// The body is not chunked as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunk;

impl Chunked {
    /// Appends the body's bytes that are in `bytes` to `body`.
    pub fn read(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<(), BadChunk> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if let Self::Data(left) = *self {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                body.extend_from_slice(&rest[..take]);
                rest = &rest[take..];
                let left = left - take as u64;
                *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                continue;
            }
            *self = self.step(byte)?;
            if *self == Self::Ended {
                break;
            }
            rest = after;
        }
        Ok(())
    }

    fn step(self, byte: u8) -> Result<Self, BadChunk> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self, byte, digit) {
            (Self::Start, _, Some(digit)) => Ok(Self::Size(digit)),
            (Self::Size(size), _, Some(digit)) if size <= u64::MAX >> 8 => Ok(Self::Size(size << 4 | digit)),
            (Self::Size(0) | Self::SizeLine(0), b'\n', _) => Ok(Self::Ended),
            (Self::Size(size) | Self::SizeLine(size), b'\n', _) => Ok(Self::Data(size)),
            (Self::Size(size), b'\r' | b';' | b' ', _) | (Self::SizeLine(size), _, _) => {
                Ok(Self::SizeLine(size))
            }
            (Self::DataEnd, b'\r', _) => Ok(Self::DataEnd),
            (Self::DataEnd, b'\n', _) => Ok(Self::Start),
            (Self::Ended, _, _) => Ok(Self::Ended),
            _ => Err(BadChunk),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";

    #[test]
    fn chunks_cut_at_any_place_give_the_same_body() {
        for cut in 0..=BODY.len() {
            let (mut chunked, mut body) = (Chunked::default(), Vec::new());
            chunked.read(&BODY[..cut], &mut body).unwrap();
            chunked.read(&BODY[cut..], &mut body).unwrap();
            assert_eq!(
                (body.as_slice(), chunked),
                (b"abc0123456789".as_slice(), Chunked::Ended),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bytes in [b"data: hi\n\n".as_slice(), b"\r\n", b"3\r\nabcd", b"ffffffffffffffffff"] {
            let result = Chunked::default().read(bytes, &mut Vec::new());
            assert_eq!(result, Err(BadChunk), "{}", bytes.escape_ascii());
        }
    }
}
