//! What Redis sends: no bytes cause a panic, the hot path and the crate read the same, and it does not matter how the
//! bytes were split into reads.

#![no_main]

use bytes::Bytes;
use courier::wire::resp::reply::{Decoder, Frame, Message, Reply, RespError, decode_message, decode_reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says how long a read is; the rest is what Redis sent.
    let Some((&size, bytes)) = input.split_first() else { return };
    if let Some((message, length)) = decode_message(bytes) {
        assert_eq!(decode_reply(bytes), Ok(Some((push(message), length))));
    }
    let size = usize::from(size).max(1);
    assert_eq!(decode(bytes.chunks(size)), decode(std::iter::once(bytes)));
});

/// Every frame up to the first error, and the error: without its quote, which is as long as the read was.
fn decode<'a>(reads: impl Iterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<RespError>) {
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    for read in reads {
        let mut frames = decoder.decode(read);
        while let Some(frame) = frames.next() {
            match frame {
                Ok(Frame::Message(message)) => replies.push(push(message)),
                Ok(Frame::Reply(reply)) => replies.push(reply),
                Err(RespError::NotResp(_)) => return (replies, Some(RespError::UnknownType(0))),
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fn push(message: Message<'_>) -> Reply {
    let text = |bytes: &[u8]| Reply::Text(Bytes::copy_from_slice(bytes));
    Reply::Push(vec![text(b"message"), text(message.channel), text(message.payload)])
}
