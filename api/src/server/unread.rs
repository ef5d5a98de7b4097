//! Bounds the bytes of responses that clients have not read yet.
//!
//! A client that requests large responses and does not read them would otherwise fill the pod's memory: each connection
//! can hold a response of some megabytes until the write timeout ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::client::Client;
use crate::problem::{Code, Problem};

/// How many bytes of responses may be unread at once.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How many of these bytes may belong to one client, so that no client can stop the others.
const MAX_CLIENT_BYTES: usize = MAX_BYTES / 4;

/// Responses up to this size do not count. All connections together can hold fewer than 50 MB of them.
const SMALL_BYTES: usize = 4 * 1024;

/// The responses that are being sent.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    bytes: usize,
    clients: HashMap<Client, usize>,
}

impl Unread {
    /// Counts a body as unread until it has been written to the client's connection, or the connection is closed.
    /// Refuses the response if too much is unread.
    pub(super) fn send(self: &Arc<Self>, client: Option<Client>, body: Bytes) -> Result<Bytes, Problem> {
        let bytes = body.len();
        let Some(client) = client.filter(|_| bytes > SMALL_BYTES) else { return Ok(body) };
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = sums.clients.get(&client).copied().unwrap_or_default();
        // A client that has read everything gets a response of any size.
        if of_client > 0 && of_client + bytes > MAX_CLIENT_BYTES {
            let detail = "this client has not read its earlier responses; read them before requesting more";
            return Err(Problem::new(Code::RateLimited, detail).retry_after(1));
        }
        if sums.bytes > 0 && sums.bytes + bytes > MAX_BYTES {
            let detail = "too many clients have not read their responses yet; retry in a moment";
            return Err(Problem::new(Code::Busy, detail).retry_after(1));
        }
        sums.bytes += bytes;
        sums.clients.insert(client, of_client + bytes);
        Ok(Bytes::from_owner(Sending { body, client, unread: self.clone() }))
    }
}

/// A body that is being sent. The server drops it once its last byte has been written.
struct Sending {
    body: Bytes,
    client: Client,
    unread: Arc<Unread>,
}

impl AsRef<[u8]> for Sending {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut sums = self.unread.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.body.len();
        sums.bytes = sums.bytes.saturating_sub(bytes);
        let of_client = sums.clients.get(&self.client).copied().unwrap_or_default().saturating_sub(bytes);
        if of_client == 0 {
            sums.clients.remove(&self.client);
        } else {
            sums.clients.insert(self.client, of_client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_bytes_are_bounded_per_client_and_in_total() {
        let unread = Arc::new(Unread::default());
        let body = |bytes: usize| Bytes::from(vec![0; bytes]);
        let send = |client: usize, bytes: usize| unread.send(Some(Client::Key(client)), body(bytes));
        let mut held = Vec::new();
        // A single response may be larger than the limit.
        held.push(send(0, MAX_CLIENT_BYTES + 1).unwrap());
        assert_eq!(send(0, SMALL_BYTES + 1).unwrap_err().code(), Code::RateLimited);
        assert!(send(0, SMALL_BYTES).is_ok(), "small responses are always sent");
        for client in 1..=3 {
            held.push(send(client, MAX_CLIENT_BYTES - 1).unwrap());
        }
        assert_eq!(send(4, 2 * SMALL_BYTES).unwrap_err().code(), Code::Busy);
        // Clones and slices keep the bytes, so they keep counting.
        let slice = held.remove(1).slice(10..20);
        assert_eq!(send(4, 2 * SMALL_BYTES).unwrap_err().code(), Code::Busy);
        drop(slice);
        assert!(send(4, 2 * SMALL_BYTES).is_ok());
        drop(held);
        let sums = unread.0.lock().unwrap();
        assert_eq!((sums.bytes, sums.clients.len()), (0, 0));
    }
}
