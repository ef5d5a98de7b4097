//! `/v1/tickets`: tickets, with which browsers open the streams of a pod that requires keys.
//!
//! `EventSource` and WebSocket cannot send a key in a header, and a key in a URL would end up in the logs of proxies. A
//! ticket may end up there: it only opens streams, and only for a minute. A ticket is computed from a key's digest, so
//! every pod with the same `api.keys` accepts it, and no pod has to remember it.

use std::{sync::Arc, time::Duration};

use common::domain::Timestamp;
use hmac::{Hmac, Mac};
use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{STREAM_PATHS, State, Tag};
use crate::dto::{Json, TimeText};

/// How long a ticket is valid.
const LIFE: Duration = Duration::from_secs(60);

/// The parameter with a ticket.
pub(crate) const TICKET: &str = "ticket";

/// What is authenticated together with the time at which a ticket ends, so that the digest can be used for other codes.
const PURPOSE: &str = "tickwell ticket for streams until ";

/// The digest of the key that a request was sent with. Zeros if the pod requires no key.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyDigest(pub(crate) [u8; 32]);

/// A ticket.
#[derive(Debug, Object, Serialize)]
pub(crate) struct Ticket {
    /// The value of the parameter `ticket`.
    ticket: String,
    /// Until when the ticket opens streams. An open stream does not end then.
    expires: TimeText,
}

#[derive(ApiResponse)]
enum TicketResponse {
    /// A new ticket
    #[oai(status = 201)]
    Created(Json<Ticket>),
}

/// The handler of tickets.
pub struct TicketsApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Streams")]
impl TicketsApi {
    /// Get a ticket for a stream
    ///
    /// A browser's `EventSource` and WebSocket cannot send an API key. They send a ticket as the parameter `ticket` of
    /// `/v1/stream` or `/v1/ws` instead. A ticket opens streams for one minute, at every pod that knows the key. If a stream
    /// is opened again after that, the response is 401, and the page needs a new ticket.
    ///
    /// If the pod requires no key, it ignores tickets. It still returns one, so that a page works with and without keys.
    #[oai(path = "/tickets", method = "post", operation_id = "createTicket")]
    async fn create(&self, digest: Option<Data<&KeyDigest>>) -> TicketResponse {
        let digest = digest.map(|digest| *digest.0).unwrap_or_default();
        let expires = self.0.clock.now().plus(LIFE);
        TicketResponse::Created(Json::of(Ticket {
            ticket: digest.ticket(expires),
            expires: TimeText(expires),
        }))
    }
}

impl KeyDigest {
    /// Whether a ticket was made from this digest, and has not ended.
    pub(crate) fn accepts(self, ticket: &str, now: Timestamp) -> bool {
        let expires = ticket.split_once('-').and_then(|(expires, _)| expires.parse().ok());
        let expires = expires.and_then(|millis| Timestamp::from_unix_millis(millis).ok());
        let Some(expires) = expires.filter(|expires| *expires > now) else { return false };
        // Compared in constant time, so that the time taken reveals nothing about valid tickets.
        self.ticket(expires).as_bytes().ct_eq(ticket.as_bytes()).into()
    }

    fn ticket(self, expires: Timestamp) -> String {
        let expires = expires.unix_millis();
        // This cannot fail, because a key of an HMAC may have any length.
        let Ok(mut code) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        code.update(format!("{PURPOSE}{expires}").as_bytes());
        format!("{expires}-{:x}", code.finalize().into_bytes())
    }
}

/// The ticket that a request sends to a route that accepts tickets.
pub(crate) fn sent(request: &Request) -> Option<String> {
    if !STREAM_PATHS.contains(&request.uri().path()) {
        return None;
    }
    let parameters: Vec<(String, String)> = request.params().unwrap_or_default();
    parameters.into_iter().find(|(name, _)| name == TICKET).map(|(_, ticket)| ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000).unwrap()
    }

    #[test]
    fn a_ticket_is_an_hmac_that_other_programs_can_compute() {
        // printf 'tickwell ticket for streams until 60000' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…07
        let ticket = KeyDigest([7; 32]).ticket(at(60));
        assert_eq!(ticket, "60000-750325f1c45da28f4e04f762d8da79b3a0cfd8bd927ec71d422709fd97e8b4b5");
    }

    #[test]
    fn only_an_unchanged_ticket_of_the_same_key_that_has_not_ended_is_accepted() {
        let (key, other) = (KeyDigest([7; 32]), KeyDigest([8; 32]));
        let ticket = key.ticket(at(60));
        assert!(key.accepts(&ticket, at(0)) && key.accepts(&ticket, at(59)));
        assert!(!key.accepts(&ticket, at(60)) && !other.accepts(&ticket, at(0)));
        let (_, code) = ticket.split_once('-').unwrap();
        for forged in [
            format!("61000-{code}"),
            format!("060000-{code}"),
            format!("+60000-{code}"),
            ticket.to_uppercase(),
            format!("{ticket}0"),
            ticket[..ticket.len() - 1].to_owned(),
            "60000-".to_owned(),
            "60000".to_owned(),
            String::new(),
        ] {
            assert!(!key.accepts(&forged, at(0)), "{forged}");
        }
    }
}
