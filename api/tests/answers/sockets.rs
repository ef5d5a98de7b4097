//! Refused WebSockets: programs get a problem, and pages get a close code, because a browser hides the status.

use api::config::RateLimit;
use futures::StreamExt;
use poem::http::header::ORIGIN;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

use crate::{
    access::keyed,
    rig::{Rig, Served, gap, tick},
};

const DAY: i64 = 86_400;

/// The HTTP status of a handshake, and the code and reason if the socket is closed at once.
async fn open(served: &Served, query: &str, is_page: bool) -> (u16, Option<(u16, String)>) {
    let mut request = format!("ws://{}/v1/ws?{query}", served.address).into_client_request().unwrap();
    if is_page {
        let origin = format!("http://{}", served.address);
        request.headers_mut().insert(ORIGIN, origin.parse().unwrap());
    }
    let (mut socket, response) = match tokio_tungstenite::connect_async(request).await {
        Ok(opened) => opened,
        Err(Error::Http(refused)) => return (refused.status().as_u16(), None),
        Err(error) => unreachable!("{error}"),
    };
    let first = socket.next().await.unwrap().unwrap();
    let closed = match first {
        Message::Close(Some(close)) => Some((u16::from(close.code), close.reason.to_string())),
        _ => None,
    };
    (response.status().as_u16(), closed)
}

fn closed(code: u16, reason: &str) -> (u16, Option<(u16, String)>) {
    (101, Some((code, reason.to_owned())))
}

#[tokio::test]
async fn a_page_learns_from_the_close_code_why_its_socket_is_refused() {
    let mut rig = Rig::new();
    // History is kept for two days, so after these records the event after the first one is gone.
    rig.send(vec![tick("BTC-USD", 0, "1"), tick("BTC-USD", 10, "2"), gap("BTC-USD", 20, 2 * DAY)]).await;
    rig.send(vec![tick("BTC-USD", 2 * DAY + 10, "3"), tick("BTC-USD", 2 * DAY + 20, "4")]).await;
    rig = rig.restarted().await;
    let served = rig.serve(RateLimit::Off).await;
    for (query, status, reason) in [
        ("after=other-3", 409, "unknown_cursor"),
        ("after=abc-99", 409, "unknown_cursor"),
        ("after=1", 410, "sequence_gone"),
        ("after=x", 400, "invalid_parameter"),
        ("pair=BTC-USD", 400, "invalid_parameter"),
        ("pairs=DOGE-USD", 404, "unknown_pair"),
    ] {
        assert_eq!(open(&served, query, false).await, (status, None), "{query}");
        assert_eq!(open(&served, query, true).await, closed(4_000 + status, reason), "{query}");
    }
    assert_eq!(open(&served, "after=0", true).await, (101, None));
    let metrics = String::from_utf8(rig.get("/metrics").await.bytes).unwrap();
    let counted = r#"tickwell_http_problems_total{code="sequence_gone"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_page_also_learns_that_it_needs_a_key_or_must_wait() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 0, "1")]).await;
    let served = rig.serve_as(&keyed("off")).await;
    assert_eq!(open(&served, "ticket=1-2", false).await, (401, None));
    assert_eq!(open(&served, "ticket=1-2", true).await, closed(4_401, "unauthorized"));

    let served = rig.serve("1/m".parse().unwrap()).await;
    assert_eq!(open(&served, "", true).await, (101, None));
    assert_eq!(open(&served, "", false).await, (429, None));
    assert_eq!(open(&served, "", true).await, closed(4_429, "rate_limited"));

    let (starting, _finish) = rig.serve_starting().await;
    assert_eq!(open(&starting, "", false).await, (503, None));
    assert_eq!(open(&starting, "", true).await, closed(4_503, "starting"));
}
