//! The usual question: does the server answer a request, and with a good status?

use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::address::{Target, parse_url};
use super::trouble::connect;
use super::{Probe, ProbeFuture, Trouble, tls};
use crate::base::{ConfigError, NodeId};

const AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// A node is alive if it answers one HTTP/1.1 request with an expected status.
#[derive(Clone)]
pub struct HttpProbe(Arc<Question>);

struct Question {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    method: Method,
    /// Path and query.
    uri: Uri,
    headers: HeaderMap,
    expect: Range<u16>,
}

impl HttpProbe {
    /// Asks `url` (`http://` or `https://`) by `method`, with `headers` added to ours or in their place.
    /// A status in `expect` is a sign of life; by convention 200..400.
    ///
    /// Errors name the field "address", "method", "headers" or "expect"; no value shows a credential.
    pub fn new(
        url: &str,
        method: &str,
        headers: &[(String, String)],
        expect: Range<u16>,
    ) -> Result<Self, ConfigError> {
        Self::build(url, method, headers, expect, tls::connector)
    }

    /// The same, trusting what `connector` trusts (see [`super::trust_file`]).
    pub fn with_tls(
        url: &str,
        method: &str,
        headers: &[(String, String)],
        expect: Range<u16>,
        connector: TlsConnector,
    ) -> Result<Self, ConfigError> {
        Self::build(url, method, headers, expect, || Ok(connector))
    }

    fn build(
        url: &str,
        method: &str,
        headers: &[(String, String)],
        expect: Range<u16>,
        connector: impl FnOnce() -> Result<TlsConnector, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let (uri, target) = parse_url(url)?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| ConfigError::new("method", "be an HTTP method", format!("{method:?}")))?;
        if expect.is_empty() {
            let value = format!("range({}, {})", expect.start, expect.end);
            return Err(ConfigError::new("expect", "hold at least one status", value));
        }
        let tls = if target.tls {
            let name = ServerName::try_from(target.host.clone());
            let rule = "name a host that a certificate can name";
            let name = name.map_err(|_| ConfigError::new("address", rule, format!("{:?}", target.host)))?;
            Some((connector()?, name))
        } else {
            None
        };
        let headers = headers_of(&uri, headers)?;
        let uri = uri.path_and_query().map_or_else(|| Uri::from_static("/"), |p| Uri::from(p.clone()));
        Ok(Self(Arc::new(Question { target, tls, method, uri, headers, expect })))
    }
}

impl Probe for HttpProbe {
    fn probe(&self, _node: NodeId) -> ProbeFuture {
        let question = self.0.clone();
        Box::pin(async move { question.ask().await })
    }
}

impl fmt::Debug for HttpProbe {
    /// Without headers and query: they may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Question { target, uri, .. } = &*self.0;
        write!(f, "HttpProbe({}:{}{})", target.host, target.port, uri.path())
    }
}

impl Question {
    async fn ask(&self) -> Result<(), Trouble> {
        let Target { host, port, .. } = &self.target;
        let tcp = connect(host, *port).await?;
        let status = match &self.tls {
            None => self.exchange(tcp).await?,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), tcp).await.map_err(|_| "tls")?;
                self.exchange(stream).await?
            }
        };
        if self.expect.contains(&status.as_u16()) {
            Ok(())
        } else {
            Err(format!("status {}", status.as_u16()).into())
        }
    }

    /// One request over `stream`. The connection is driven here and not in a task of its own, so that
    /// giving the question up closes it.
    async fn exchange<S>(&self, stream: S) -> Result<StatusCode, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let lost = |_| Trouble::from("network");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let mut answer = pin!(sender.send_request(request));
        let answer = tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        };
        Ok(answer.map_err(lost)?.status())
    }
}

/// Our headers, with the user's added or in their place.
fn headers_of(uri: &Uri, given: &[(String, String)]) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    let host = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    headers.extend(host.map(|host| (HOST, host)));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in given {
        let name_ok = HeaderName::from_bytes(name.as_bytes());
        // The value is never shown: it may be a key.
        let broken = |rule| ConfigError::new("headers", rule, format!("{name:?}"));
        let key = name_ok.map_err(|_| broken("have names that HTTP allows"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| broken("have values that HTTP allows"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}
