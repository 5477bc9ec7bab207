//! What an application answers: no bytes cause a panic, no body is longer than what is taken, and it does not matter how
//! the bytes were split into reads.

#![no_main]

use courier::wire::http::{Reply, ReplyError, ReplyReader};
use libfuzzer_sys::fuzz_target;

const BODY_BYTES_MAX: usize = 64;

fuzz_target!(|input: &[u8]| {
    // The first byte says how long a read is; the rest is what the application sent.
    let Some((&size, bytes)) = input.split_first() else { return };
    let size = usize::from(size).max(1);
    let (whole, pieces) = (read(bytes, bytes.len().max(1)), read(bytes, size));
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!((whole.status, &whole.body), (pieces.status, &pieces.body));
            assert!(whole.body.len() <= BODY_BYTES_MAX);
            // What came behind the answer is seen only if it came with it.
            assert!(pieces.keep_alive || !whole.keep_alive);
        }
        _ => assert_eq!(whole, pieces),
    }
});

fn read(bytes: &[u8], size: usize) -> Result<Reply, ReplyError> {
    let mut reader = ReplyReader::new(BODY_BYTES_MAX);
    for piece in bytes.chunks(size) {
        if let Some(reply) = reader.receive(piece)? {
            return Ok(reply);
        }
    }
    reader.end()
}
