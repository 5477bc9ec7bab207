//! Walks over one RESP frame without building anything: is it whole, and within bounds?
//!
//! The crate that builds values recurses and starts over with each attempt at a partial frame, so nothing reaches it
//! before this has found the frame whole, at most `RESP_DEPTH` deep and within the bounds of `limits`. Resumable: what
//! was walked over once is not looked at again, so a frame of n bytes costs O(n) in however many pieces it comes.
//!
//! Invariant: `at` never lies behind the frame's end, and `Wants::Bytes` never asks for more than the frame has.

use crate::base::limits::{RESP_BULK_BYTES, RESP_DEPTH, RESP_ELEMENTS, RESP_FRAME_BYTES, RESP_LINE_BYTES};
use crate::wire::resp::reply::{Quote, RespError};

/// How far one frame has been walked over.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    at: usize,
    wants: Wants,
    /// How many elements each open aggregate still lacks, outermost first.
    lacking: [usize; RESP_DEPTH],
    depth: usize,
    elements: usize,
}

/// What must arrive before it is worth going on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// The line that starts at `at`, up to its LF.
    #[default]
    Line,
    /// So many bytes of the frame in all: the end of a bulk.
    Bytes(usize),
}

impl Scanner {
    /// Goes on in `frame`, whose first bytes are those of the calls before. The frame's length once it is whole.
    pub(super) fn scan(&mut self, frame: &[u8]) -> Result<Option<usize>, RespError> {
        loop {
            let whole = match self.wants {
                Wants::Line => match self.line(frame)? {
                    None => return Ok(None),
                    Some(line) => self.header(line)?,
                },
                Wants::Bytes(end) => {
                    if frame.len() < end {
                        return Ok(None);
                    }
                    if &frame[end - 2..end] != b"\r\n" {
                        return Err(RespError::Terminator);
                    }
                    self.at = end;
                    self.wants = Wants::Line;
                    self.finish_element()
                }
            };
            if self.at > RESP_FRAME_BYTES {
                return Err(RespError::FrameTooLong);
            }
            if whole {
                return Ok(Some(self.at));
            }
        }
    }

    pub(super) fn wants(&self) -> Wants {
        self.wants
    }

    /// Takes the line at `at`, without its end; none if its end has not come.
    fn line<'a>(&mut self, frame: &'a [u8]) -> Result<Option<&'a [u8]>, RespError> {
        let rest = &frame[self.at..];
        if let Some(&kind) = rest.first()
            && !b"+-:_,#($=!*~>%|".contains(&kind)
        {
            return Err(if self.at == 0 {
                RespError::NotResp(Quote::new(rest))
            } else {
                RespError::UnknownType(kind)
            });
        }
        let searched = &rest[..rest.len().min(RESP_LINE_BYTES)];
        let Some(line_feed) = memchr::memchr(b'\n', searched) else {
            return if searched.len() == RESP_LINE_BYTES { Err(RespError::LineTooLong) } else { Ok(None) };
        };
        self.at += line_feed + 1;
        match &rest[..line_feed] {
            [line @ .., b'\r'] if !line.is_empty() => Ok(Some(line)),
            _ => Err(RespError::Terminator),
        }
    }

    /// Acts on a line; whether the frame is whole with it.
    fn header(&mut self, line: &[u8]) -> Result<bool, RespError> {
        self.elements += 1;
        if self.elements > RESP_ELEMENTS {
            return Err(RespError::TooManyElements);
        }
        match line[0] {
            b'$' | b'=' | b'!' => {
                let length = length(&line[1..]).ok_or(RespError::Length)?;
                if length > RESP_BULK_BYTES {
                    return Err(RespError::BulkTooLong);
                }
                self.wants = Wants::Bytes(self.at + length + 2);
                Ok(false)
            }
            b'*' | b'~' | b'>' => self.open(&line[1..], 1, 0),
            b'%' => self.open(&line[1..], 2, 0),
            // Attributes are pairs before a frame; together they count as one element one level deeper.
            b'|' => self.open(&line[1..], 2, 1),
            _ => Ok(self.finish_element()),
        }
    }

    /// An aggregate begins, of as many elements as the line says times `factor` and `more`.
    fn open(&mut self, count: &[u8], factor: usize, more: usize) -> Result<bool, RespError> {
        let count = length(count).ok_or(RespError::Length)?;
        if count > RESP_ELEMENTS {
            return Err(RespError::TooManyElements);
        }
        if self.depth == RESP_DEPTH {
            return Err(RespError::TooDeep);
        }
        let lacking = count * factor + more;
        if lacking == 0 {
            return Ok(self.finish_element());
        }
        self.lacking[self.depth] = lacking;
        self.depth += 1;
        Ok(false)
    }

    /// One element is complete, and with it each aggregate whose last element it is; whether the frame is.
    fn finish_element(&mut self) -> bool {
        while let Some(innermost) = self.depth.checked_sub(1) {
            self.lacking[innermost] -= 1;
            if self.lacking[innermost] > 0 {
                return false;
            }
            self.depth = innermost;
        }
        true
    }
}

/// A length in decimal digits; none if it is anything else or does not fit.
pub(super) fn length(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > LENGTH_DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0_usize, |length, &digit| {
        digit.is_ascii_digit().then(|| length * 10 + usize::from(digit - b'0'))
    })
}

/// So many digits cannot overflow.
const LENGTH_DIGITS_MAX: usize = 18;
