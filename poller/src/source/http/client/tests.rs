//! Invalid TLS certificates, servers without TLS, and unknown host names. The client trusts only the tests'
//! own certificate authority, so that each certificate is refused for a single reason.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use testkit::proxy::{FakeProxy, Protocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

const HOST: &str = "exchange.test";

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `host` that is valid until the start of the year `until`.
    fn signed(&self, host: &str, until: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params(host, until).signed_by(&key, &self.issuer).unwrap(), key)
    }
}

fn params(host: &str, until: i32) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(until, 1, 1));
    params
}

fn far_deadline() -> Instant {
    Instant::now() + std::time::Duration::from_secs(60)
}

/// Serves with one certificate, and responds to every request with `[]`.
async fn serve((certificate, key): (Certificate, KeyPair)) -> SocketAddr {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

async fn get(authority: &Authority, address: SocketAddr) -> Result<Response, Failure> {
    let builder = || builder(authority).resolve(HOST, address);
    let url = format!("https://{HOST}:{}/", address.port());
    let client = Client::build(&EgressProxy::Off, builder).unwrap();
    client.get(url.parse().unwrap(), None, MAX_PRICES_BYTES, far_deadline()).await
}

/// A client that trusts only this authority.
fn builder(authority: &Authority) -> reqwest::ClientBuilder {
    let trusted = reqwest::Certificate::from_der(authority.certificate.der()).unwrap();
    reqwest::Client::builder().tls_certs_only([trusted])
}

/// Only the proxy can resolve the host. It sees neither the request nor the response, because they are encrypted.
#[tokio::test]
async fn https_goes_through_a_proxy_as_a_tunnel_except_to_this_machine() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::new();
    let server = serve(authority.signed(HOST, 4000)).await;
    for (scheme, protocol) in [("http", Protocol::Connect), ("socks5h", Protocol::Socks5)] {
        let fake = FakeProxy::start(server).await.unwrap();
        let proxy: EgressProxy = format!("{scheme}://me:hunter2@{}", fake.address()).parse().unwrap();
        let client = Client::build(&proxy, || builder(&authority)).unwrap();
        let ask =
            async |url: &str| client.get(url.parse().unwrap(), None, MAX_PRICES_BYTES, far_deadline()).await;
        let response = ask(&format!("https://{HOST}/")).await.unwrap();
        assert_eq!(response.body.as_deref(), Ok(b"[]".as_slice()));
        let seen = fake.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].protocol, seen[0].host.as_str()), (protocol, HOST));
        assert!(seen[0].credentials.is_some());
        // The certificate is not for these names.
        for host in ["127.0.0.1", "localhost"] {
            let refused = ask(&format!("https://{host}:{}/", server.port())).await;
            assert_eq!(refused.err(), Some(Failure::Tls), "{host}");
        }
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_the_password_counts_as_unreachable() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy: EgressProxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    let client = Client::new(&proxy, &Contact::default()).unwrap();
    for url in ["http://exchange.invalid/", "https://exchange.invalid/"] {
        let response = client.get(url.parse().unwrap(), None, MAX_PRICES_BYTES, far_deadline()).await;
        assert_eq!(response.and_then(|response| response.status).err(), Some(Failure::Unreachable), "{url}");
    }
}

#[tokio::test]
async fn only_a_valid_certificate_for_the_host_by_a_trusted_authority_is_accepted() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::new();
    let good = get(&authority, serve(authority.signed(HOST, 4000)).await).await;
    assert_eq!(good.unwrap().body.as_deref(), Ok(b"[]".as_slice()));

    let own_key = KeyPair::generate().unwrap();
    let self_signed = (params(HOST, 4000).self_signed(&own_key).unwrap(), own_key);
    for (what, served) in [
        ("expired", authority.signed(HOST, 2002)),
        ("for another host", authority.signed("other.test", 4000)),
        ("self-signed", self_signed),
        ("by an unknown authority", Authority::new().signed(HOST, 4000)),
    ] {
        let refused = get(&authority, serve(served).await).await;
        assert_eq!(refused.err(), Some(Failure::Tls), "{what}");
    }
}

/// A server without TLS must not make the client fall back to plain HTTP.
#[tokio::test]
async fn a_server_without_tls_is_refused() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await;
        }
    });
    assert_eq!(get(&Authority::new(), address).await.err(), Some(Failure::Tls));
}

#[tokio::test]
async fn an_unknown_host_name_is_told_apart_from_an_unreachable_host() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(&EgressProxy::Off, &Contact::default()).unwrap();
    // `.invalid` is reserved for names that do not exist (RFC 2606).
    let unknown =
        client.get("http://exchange.invalid/".parse().unwrap(), None, MAX_PRICES_BYTES, far_deadline()).await;
    assert_eq!(unknown.err(), Some(Failure::Dns));
}
