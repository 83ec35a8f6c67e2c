//! `host:port` as a type.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A host name or IP address and a port from 1 to 65535. Not resolved; an IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Why a text is no `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// No colon.
    #[error("has no port")]
    NoPort,
    /// The port is no number from 1 to 65535.
    #[error("has a port that is no number from 1 to 65535")]
    Port,
    /// The host is empty or holds a character that no host name, IPv4 address or bracketed IPv6 address holds.
    #[error("has no legal host name or IP address")]
    Host,
}

impl HostPort {
    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError::NoPort)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().map_err(|_no_number| HostPortError::Port)?;
        if port == 0 || !digits {
            return Err(HostPortError::Port);
        }
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => {
                inner
                    .parse::<std::net::Ipv6Addr>()
                    .map_err(|_no_address| HostPortError::Host)?;
                inner
            }
            None => host,
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let name = !host.is_empty() && host.len() <= 253 && host.bytes().all(legal);
        if !name && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(HostPortError::Host);
        }
        if host.contains(':') && !text.starts_with('[') {
            return Err(HostPortError::Host);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl TryFrom<String> for HostPort {
    type Error = HostPortError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_both_families_are_read_and_written_alike() {
        for text in [
            "10.1.4.17:5031",
            "kafka-1.example.com:9092",
            "[::1]:80",
            "a_b:1",
            "localhost:65535",
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        for (text, error) in [
            ("host", HostPortError::NoPort),
            ("", HostPortError::NoPort),
            ("host:", HostPortError::Port),
            ("host:0", HostPortError::Port),
            ("host:65536", HostPortError::Port),
            ("host:+80", HostPortError::Port),
            ("host:x", HostPortError::Port),
            (":80", HostPortError::Host),
            ("a b:80", HostPortError::Host),
            ("http://a:80", HostPortError::Host),
            ("::1:80", HostPortError::Host),
            ("[a]:80", HostPortError::Host),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(error), "{text}");
        }
    }
}
