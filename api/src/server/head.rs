//! Checks the line ends of request heads before hyper sees them.
//!
//! hyper accepts a line feed without a carriage return as the end of a line. A proxy in front of the pod may read such a head
//! in another way, so that an attacker could hide a request in it. hyper also closes a connection without a word if it
//! begins with the preface of HTTP/2. So in both cases a byte is replaced with one that no head may contain. Then hyper
//! responds with 400 and closes the connection, as it does for all other requests that are not valid.

use http::{HeaderMap, HeaderValue, header};

/// A byte that must not be in a head.
const INVALID: u8 = 0;

/// The beginning of the preface of HTTP/2. No method of HTTP/1.1 begins like this.
const HTTP_2: &[u8] = b"pri*";

/// Lines after which something else may follow than another head.
const BEFORE_OTHERS: [&[u8]; 3] = [b"content-length:", b"transfer-encoding:", b"upgrade:websocket"];

const SOCKET: &[u8] = b"websocket";

/// The length of the longest of these lines.
const LINE_BYTES: usize = 18;

/// The heads on one connection.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The first letters of the current line in lower case, without spaces.
    line: arrayvec::ArrayVec<u8, LINE_BYTES>,
    /// The number of bytes in the current line.
    length: usize,
    after_carriage_return: bool,
    is_in_fields: bool,
    /// Whether this head is the last one.
    is_last: bool,
    /// Whether the rest of the connection is not checked. [`is_last`] then closes it after the response.
    is_over: bool,
}

/// Whether the head of this request is the last one of its connection that [`Heads`] checks.
pub(super) fn is_last(headers: &HeaderMap) -> bool {
    let is_socket = |value: &HeaderValue| {
        let letters = value.as_bytes().iter().filter(|byte| !byte.is_ascii_whitespace());
        letters.map(u8::to_ascii_lowercase).take(SOCKET.len()).eq(SOCKET.iter().copied())
    };
    headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get_all(header::UPGRADE).iter().any(is_socket)
}

impl Heads {
    /// Checks received bytes, and replaces those that must not be there.
    pub(super) fn check(&mut self, received: &mut [u8]) {
        for byte in received {
            if self.is_over {
                return;
            }
            self.check_byte(byte);
        }
    }

    fn check_byte(&mut self, byte: &mut u8) {
        if *byte == b'\n' {
            if !self.after_carriage_return {
                *byte = INVALID;
            }
            self.end_line();
            return;
        }
        self.after_carriage_return = *byte == b'\r';
        if self.after_carriage_return {
            return;
        }
        self.length += 1;
        if matches!(*byte, b' ' | b'\t') {
            return;
        }
        // Only the first letters are needed.
        let _ = self.line.try_push(byte.to_ascii_lowercase());
        if !self.is_in_fields && self.line.as_slice() == HTTP_2 {
            *byte = INVALID;
        }
    }

    fn end_line(&mut self) {
        let is_empty = self.length == 0;
        self.is_over = is_empty && self.is_in_fields && self.is_last;
        self.is_last |= self.is_in_fields && BEFORE_OTHERS.iter().any(|line| self.line.starts_with(line));
        // An empty line ends a head. Before the request line, it is ignored.
        self.is_in_fields = !is_empty;
        self.line.clear();
        (self.length, self.after_carriage_return) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper sees of these bytes, whether they arrive at once or one by one.
    fn seen(sent: &str) -> String {
        let (mut whole, mut pieces) = (sent.as_bytes().to_vec(), sent.as_bytes().to_vec());
        Heads::default().check(&mut whole);
        let mut heads = Heads::default();
        pieces.chunks_mut(1).for_each(|piece| heads.check(piece));
        assert_eq!(whole, pieces, "{sent:?}");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn line_feeds_alone_and_the_preface_of_http_2_become_invalid() {
        for (sent, expected) in [
            ("GET / HTTP/1.1\nhost: a\r\n\r\n", "GET / HTTP/1.1\0host: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nhost: a\n\r\n", "GET / HTTP/1.1\r\nhost: a\0\r\n"),
            ("GET / HTTP/1.1\r\nhost: a\r\n\n", "GET / HTTP/1.1\r\nhost: a\r\n\0"),
            ("GET / HTTP/1.1\r\na: b\r\r\n\n", "GET / HTTP/1.1\r\na: b\r\r\n\0"),
            ("\nGET / HTTP/1.1\r\n\r\n", "\0GET / HTTP/1.1\r\n\r\n"),
            ("content-length: 1\n\r\n", "content-length: 1\0\r\n"),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\na: b\n\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 1\r\na: b\0\r\n",
            ),
            // The second request on a connection.
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n", "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\0"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI \0 HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ] {
            assert_eq!(seen(sent), expected);
        }
    }

    #[test]
    fn valid_heads_bodies_and_messages_of_sockets_stay_as_they_are() {
        for sent in [
            "\r\nGET / HTTP/1.1\r\nhost: a\r\npri*: 1\r\n\r\nGET /pri* HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 3\r\nhost: a\r\n\r\n\n\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nUPGRADE:\t WebSocket\r\n\r\na\nb\n",
        ] {
            assert_eq!(seen(sent), sent);
        }
    }
}
