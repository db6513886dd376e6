//! Where a probe goes: reading addresses, and naming them in errors without their secrets.

use hyper::Uri;

use crate::base::ConfigError;

const FIELD: &str = "address";

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// The URL of a probe: `path` itself if it is a whole URL, else `path` at the origin of `address`.
pub fn join(address: &str, path: &str) -> Result<String, ConfigError> {
    if path.contains("://") {
        return Ok(path.to_owned());
    }
    let uri = parse(address)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(broken("be an http:// or https:// URL", address));
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{scheme}://{authority}{slash}{path}"))
}

/// Reads an `http://` or `https://` URL.
pub(super) fn parse_url(url: &str) -> Result<(Uri, Target), ConfigError> {
    let uri = parse(url)?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(broken("be an http:// or https:// URL", url)),
    };
    let target = target(&uri, if tls { 443 } else { 80 }, tls, url)?;
    Ok((uri, target))
}

/// Reads `host:port`, or the origin of a URL.
pub(super) fn parse_host_port(address: &str) -> Result<Target, ConfigError> {
    if address.contains("://") {
        return parse_url(address).map(|(_, target)| Target { tls: false, ..target });
    }
    let uri = parse(&format!("tcp://{address}"))?;
    target(&uri, 0, false, address)
}

fn parse(address: &str) -> Result<Uri, ConfigError> {
    address.parse().map_err(|_| broken("be a URL", address))
}

fn target(uri: &Uri, default_port: u16, tls: bool, shown: &str) -> Result<Target, ConfigError> {
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(broken("carry no user name or password (send them as headers)", shown));
    }
    let host = uri.host().unwrap_or_default();
    // `Uri` takes a port that is no number for none; what stands behind the host tells the difference.
    let port = match uri.authority().map_or("", |authority| &authority.as_str()[host.len()..]) {
        "" => default_port,
        text => text.trim_start_matches(':').parse().unwrap_or(0),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(broken("name a host", shown));
    }
    if port == 0 {
        return Err(broken("name a port from 1 to 65535", shown));
    }
    Ok(Target { host: host.to_owned(), port, tls })
}

fn broken(rule: &str, address: &str) -> ConfigError {
    ConfigError::new(FIELD, rule, format!("{:?}", redacted(address)))
}

/// An address without user, password, query and fragment: any of them may hold a credential.
fn redacted(address: &str) -> String {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let start = address.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = address[..end].split_at(start.min(end));
    // Up to the last @, wherever it is: rather too little than too much is shown.
    rest.rfind('@').map_or_else(|| format!("{scheme}{rest}"), |at| format!("{scheme}***{}", &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(url: &str) -> Result<u16, String> {
        parse_url(url).map(|(_, t)| t.port).map_err(|e| e.rule)
    }

    #[test]
    fn urls_name_host_and_port() {
        assert_eq!(
            (port("http://a/x"), port("https://a"), port("http://[::1]:81/")),
            (Ok(80), Ok(443), Ok(81))
        );
        assert_eq!(parse_url("http://[::1]:81/").unwrap().1.host, "::1");
        assert_eq!(parse_host_port("localhost:5432").unwrap().port, 5432);
        assert_eq!(parse_host_port("https://api.example.com/v1").unwrap().port, 443);
        for bad in ["", "a", "ftp://a", "http://", "/x", "http://a:0", "http://a:99999/"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
        for bad in ["localhost", "localhost:", ":80", "", "a:b"] {
            assert!(parse_host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_joins_the_origin_of_the_address() {
        assert_eq!(join("http://a:8000/v1/?k=1", "/health").unwrap(), "http://a:8000/health");
        assert_eq!(join("https://a/v1", "health?x=1").unwrap(), "https://a/health?x=1");
        assert_eq!(join("http://a", "https://b/up").unwrap(), "https://b/up");
        assert_eq!(join("not a url", "/x").unwrap_err().field, "address");
    }

    #[test]
    fn an_error_shows_no_credential() {
        for url in ["http://user:secret@a/x", "ftp://a/?key=secret", "user:secret@a", "ftp://a@b:secret@c/"] {
            let error = parse_url(url).unwrap_err().to_string();
            assert!(!error.contains("secret") && error.starts_with("address must "), "{error}");
        }
    }
}
