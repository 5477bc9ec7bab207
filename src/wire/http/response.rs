//! Response encoding: a complete answer with its length, and the head of a stream that ends with its connection.
//!
//! There is no Date field: the machines have no clock, and a server without one does not send it (RFC 9110, 6.6.1).

use crate::wire::http::Version;

/// A complete answer.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    pub status: u16,
    /// None exactly if there is no body at all, as with 204.
    pub content_type: Option<&'a str>,
    /// Further fields, each a whole line with its CRLF.
    pub fields: &'a [u8],
    pub body: &'a [u8],
    /// The answer to HEAD: the same head, with the body's length, without the body.
    pub head_only: bool,
    pub connection: Connection,
}

/// What the answer says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It stays, which HTTP/1.1 takes for granted and HTTP/1.0 must be told.
    Keep(Version),
    Close,
}

/// The bytes of a complete answer.
pub fn encode(response: &Response<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + response.fields.len() + response.body.len());
    status_line(response.status, &mut out);
    match response.content_type {
        None => debug_assert!(response.body.is_empty(), "a body has a type"),
        Some(content_type) => {
            field("Content-Type", content_type, &mut out);
            field("Content-Length", &response.body.len().to_string(), &mut out);
        }
    }
    out.extend_from_slice(response.fields);
    match response.connection {
        Connection::Keep(Version::Http11) => {}
        Connection::Keep(Version::Http10) => field("Connection", "keep-alive", &mut out),
        Connection::Close => field("Connection", "close", &mut out),
    }
    out.extend_from_slice(b"\r\n");
    if !response.head_only {
        out.extend_from_slice(response.body);
    }
    out
}

/// The head of an answer that ends when the connection does: no length, no chunks, for HTTP/1.0 and 1.1 alike.
/// `fields` are whole lines with their CRLF.
pub fn encode_stream_head(content_type: &str, fields: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + fields.len());
    status_line(200, &mut out);
    field("Content-Type", content_type, &mut out);
    out.extend_from_slice(fields);
    field("Connection", "close", &mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// The reason phrase of a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        // A phrase may be empty (RFC 9112, section 4); clients go by the number.
        _ => "",
    }
}

/// One field line.
pub fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    debug_assert!(!value.contains(['\r', '\n']), "a field value is one line");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn status_line(status: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(head_only: bool, connection: Connection) -> String {
        let bytes = encode(&Response {
            status: 404,
            content_type: Some("text/plain"),
            fields: b"Vary: Origin\r\n",
            body: b"gone\n",
            head_only,
            connection,
        });
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_answer_states_its_length_and_what_becomes_of_the_connection() {
        let head =
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nVary: Origin\r\n";
        assert_eq!(encoded(false, Connection::Keep(Version::Http11)), format!("{head}\r\ngone\n"));
        assert_eq!(
            encoded(false, Connection::Keep(Version::Http10)),
            format!("{head}Connection: keep-alive\r\n\r\ngone\n")
        );
        assert_eq!(encoded(false, Connection::Close), format!("{head}Connection: close\r\n\r\ngone\n"));
        assert_eq!(encoded(true, Connection::Keep(Version::Http11)), format!("{head}\r\n"));
    }

    #[test]
    fn an_answer_without_content_has_no_length() {
        let bytes = encode(&Response {
            status: 204,
            content_type: None,
            fields: b"",
            body: b"",
            head_only: false,
            connection: Connection::Close,
        });
        assert_eq!(bytes, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn every_status_of_a_refusal_has_its_phrase() {
        for refusal in crate::base::refusal::Refusal::ALL {
            assert_ne!(reason(refusal.status()), "", "{}", refusal.code());
        }
    }
}
