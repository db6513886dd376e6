//! Probes against real servers on loopback.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::runtime::engine;

const NODE: NodeId = NodeId(0);

/// Runs `future` on the engine and waits for it.
fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let _turn = clock::tests::alone();
    let (tell, told) = std::sync::mpsc::channel();
    drop(engine::spawn(async move { tell.send(future.await) }).unwrap());
    told.recv_timeout(Duration::from_secs(10)).unwrap()
}

fn http(url: &str, headers: &[(String, String)]) -> HttpProbe {
    HttpProbe::new(url, "GET", headers, 200..400).unwrap()
}

/// A server that answers one request with `answer`; its future gives what it was asked.
async fn serve(answer: &'static str) -> (u16, impl Future<Output = String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let n = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..n]).to_lowercase()
    });
    (port, async { asked.await.unwrap() })
}

#[test]
fn an_expected_status_is_a_sign_of_life() {
    let (result, request) = run(async {
        let (port, asked) = serve("HTTP/1.1 204 No Content\r\n\r\n").await;
        let key = [("Authorization".to_owned(), "Bearer k".to_owned())];
        let result = http(&format!("http://127.0.0.1:{port}/health?deep=1"), &key).probe(NODE).await;
        (result, asked.await)
    });
    assert_eq!(result, Ok(()));
    assert!(request.starts_with("get /health?deep=1 http/1.1\r\nhost: 127.0.0.1:"), "{request}");
    assert!(request.contains("authorization: bearer k") && request.contains("user-agent: holdfast/"));
}

#[test]
fn each_way_to_fail_has_its_reason() {
    let reason_of = |answer| {
        run(async move {
            let (port, _asked) = serve(answer).await;
            http(&format!("http://127.0.0.1:{port}/"), &[]).probe(NODE).await.unwrap_err()
        })
    };
    assert_eq!(reason_of("HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\n").to_string(), "status 503");
    assert_eq!(reason_of("what?\r\n\r\n").to_string(), "network");
    assert_eq!(reason_of("").to_string(), "network");
    let refused = run(async {
        let port = closed_port().await;
        let url = format!("http://127.0.0.1:{port}/?key=secret");
        let tcp = TcpProbe::new(&format!("127.0.0.1:{port}")).unwrap();
        [http(&url, &[]).probe(NODE).await.unwrap_err(), tcp.probe(NODE).await.unwrap_err()]
    });
    assert_eq!(refused, ["connect".into(), "connect".into()]);
}

async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[test]
fn an_open_port_is_a_sign_of_life_to_a_tcp_probe() {
    let result = run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = TcpProbe::new(&listener.local_addr().unwrap().to_string()).unwrap();
        probe.probe(NODE).await
    });
    assert_eq!(result, Ok(()));
}

/// A certificate for localhost, in a file of its own, and its key. Made anew for each run: nobody else can have it.
struct Identity {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    file: PathBuf,
}

impl Identity {
    fn make() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let file = std::env::temp_dir().join(format!("holdfast-{}.pem", std::process::id()));
        std::fs::write(&file, made.cert.pem()).unwrap();
        Self { key, certificate: made.cert.der().clone(), file }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).unwrap();
    }
}

/// One server, three probes: one that trusts it, one that does not, and one that expects no TLS at all.
#[test]
fn tls_is_spoken_and_certificates_are_checked() {
    let results = run(async {
        let own = Identity::make();
        let (chain, key) = (vec![own.certificate.clone()], own.key.clone_key());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let n = stream.read(&mut [0; 4096]).await.unwrap_or(0);
                assert!(n > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        });
        let url = format!("https://localhost:{port}/health");
        let trust = trust_file(&own.file).unwrap();
        let trusting = HttpProbe::with_tls(&url, "GET", &[], 200..400, trust).unwrap();
        let plain = http(&url.replace("https", "http"), &[]);
        let results =
            [trusting.probe(NODE).await, http(&url, &[]).probe(NODE).await, plain.probe(NODE).await];
        server.abort();
        results
    });
    let reasons = results.map(|r| r.err().map(|reason| reason.to_string()));
    assert_eq!(reasons, [None, Some("tls".to_owned()), Some("network".to_owned())]);
}

#[test]
fn bad_input_is_refused_and_shows_no_secret() {
    let refused = |url, method, header: (&str, &str), expect| {
        let headers = [(header.0.to_owned(), header.1.to_owned())];
        HttpProbe::new(url, method, &headers, expect).unwrap_err()
    };
    let ok = ("a", "b");
    assert_eq!(refused("ftp://a", "GET", ok, 200..400).field, "address");
    assert_eq!(refused("http://u:secret@a", "GET", ok, 200..400).field, "address");
    assert_eq!(refused("http://a", "G T", ok, 200..400).field, "method");
    assert_eq!(refused("http://a", "GET", ok, 400..400).field, "expect");
    let error = refused("http://a", "GET", ("key", "secret\n"), 200..400);
    assert!(error.field == "headers" && !error.to_string().contains("secret"));
    assert_eq!(trust_file(Path::new(file!())).err().unwrap().field, "SSL_CERT_FILE");
    let secret = HttpProbe::new("http://a/x?key=secret", "GET", &[], 200..400).unwrap();
    assert_eq!(format!("{secret:?}"), "HttpProbe(a:80/x)");
}

#[test]
fn a_table_asks_each_node_by_its_own_probe() {
    struct Says(Result<(), &'static str>);
    impl Probe for Says {
        fn probe(&self, _: NodeId) -> ProbeFuture {
            Box::pin(ready(self.0.map_err(Into::into)))
        }
    }
    let table = ProbeTable::default();
    table.set(NODE, Arc::new(Says(Ok(()))));
    table.set(NodeId(1), Arc::new(Says(Err("no"))));
    let ask = |n| run(table.probe(NodeId(n))).err().map(|r| r.to_string());
    assert_eq!((ask(0), ask(1), ask(2)), (None, Some("no".to_owned()), Some("no probe".to_owned())));
    table.remove(NODE);
    assert_eq!(ask(0), Some("no probe".to_owned()));
}
