//! A module's servers: where they are, how connections to them are made, and which of them takes the next push.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{HOST, HeaderMap, HeaderValue, InvalidHeaderValue};
use metrics::Gauge;
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::balance::{Balance, Change, Choice, Ended};
use crate::config::Module;
use crate::link::Dial;
use crate::meters;
use crate::names::Addresses;

/// See the module. On the module's thread only.
#[derive(Debug)]
pub struct Servers {
    module: String,
    all: Vec<Server>,
    /// The server of the next attempt, where they simply take turns.
    turn: Cell<usize>,
    /// `None` = they simply take turns.
    balance: Option<Balanced>,
    /// `None` = http.
    tls: RefCell<Option<Arc<ClientConfig>>>,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    /// The headers of every push to it.
    pub headers: HeaderMap,
    /// The name in its certificate; `None` = http.
    name: Option<ServerName<'static>>,
    /// What its name stands for; `None` = it has none, or is looked up for each connection.
    addresses: Option<Rc<Addresses>>,
}

#[derive(Debug)]
struct Balanced {
    balance: RefCell<Balance>,
    away: Gauge,
}

/// Why servers cannot be pushed to.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A server's address cannot stand in a `Host` header.
    #[error("a backend server's address is no legal Host header")]
    Host(#[source] InvalidHeaderValue),
    /// A server's name cannot stand in a certificate.
    #[error("a backend server's name is none that a certificate can have; set protocol.tls.server_name")]
    Name(#[source] InvalidDnsNameError),
}

impl Server {
    /// Whether a connection that is open may be used on.
    #[must_use]
    pub fn has(&self, peer: SocketAddr) -> bool {
        self.addresses
            .as_ref()
            .is_none_or(|addresses| addresses.has(peer))
    }
}

impl Servers {
    /// The servers of a module. A server's own address is its `Host` unless the module names another.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn new(module: &Module, tls: Option<Arc<ClientConfig>>) -> Result<Self, ServerError> {
        let all = module.backend_servers.iter().map(|server| {
            let address = server.to_string();
            let mut headers = module.headers.clone();
            let host = match &module.host {
                Some(host) => host.clone(),
                None => HeaderValue::from_str(&address).map_err(ServerError::Host)?,
            };
            headers.insert(HOST, host);
            let name = module.tls.as_ref().map(|tls| match &tls.server_name {
                Some(name) => Ok(name.clone()),
                None => ServerName::try_from(server.host().to_owned()).map_err(ServerError::Name),
            });
            let is_named = server.host().parse::<IpAddr>().is_err() && module.dns_refresh.is_some();
            Ok(Server {
                address,
                headers,
                name: name.transpose()?,
                addresses: is_named.then(Rc::default),
            })
        });
        Ok(Self {
            module: module.name.clone(),
            all: all.collect::<Result<_, _>>()?,
            turn: Cell::new(0),
            balance: module.balance.clone().map(|settings| Balanced {
                balance: RefCell::new(Balance::new(settings)),
                away: meters::servers_set_aside(&module.name),
            }),
            tls: RefCell::new(tls),
        })
    }

    /// Connections made from now on are secured so.
    pub fn replace_tls(&self, tls: Option<Arc<ClientConfig>>) {
        self.tls.replace(tls);
    }

    /// Their number, at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Never true: a module without servers is refused when it is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A server by its number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Server> {
        self.all.get(number)
    }

    /// The server of this attempt, to be given back to [`Servers::ended`].
    pub fn next(&self) -> Choice {
        if let Some(balanced) = &self.balance {
            return balanced.balance.borrow_mut().choose(Instant::now());
        }
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.all.len().max(1));
        Choice {
            server: turn,
            is_probe: false,
        }
    }

    /// An attempt has ended.
    pub fn ended(&self, choice: &Choice, ended: Ended) {
        let Some(balanced) = &self.balance else { return };
        let mut balance = balanced.balance.borrow_mut();
        let Some(change) = balance.ended(choice, ended, Instant::now()) else {
            return;
        };
        balanced
            .away
            .set(u32::try_from(balance.away()).unwrap_or(u32::MAX));
        let server = self.get(choice.server).map(|server| &server.address);
        match change {
            Change::SetAside(time) => tracing::warn!(
                module = self.module,
                server,
                seconds = time.as_secs_f64(),
                probe = choice.is_probe,
                "server set aside: its last pushes have failed"
            ),
            Change::Returned => tracing::info!(module = self.module, server, "server is back"),
        }
    }

    /// How a connection to a server is made.
    #[must_use]
    pub fn dial<'a>(&self, server: &'a Server) -> Dial<'a> {
        let tls = self.tls.borrow().clone().map(TlsConnector::from);
        let addresses = server.addresses.as_ref();
        Dial {
            address: &server.address,
            known: addresses.map_or_else(Vec::new, |addresses| addresses.in_turn()),
            tls: tls.zip(server.name.clone()),
        }
    }

    /// Those whose names are looked up again and again.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Rc<Addresses>)> {
        let all = self.all.iter();
        all.filter_map(|server| Some((&*server.address, server.addresses.as_ref()?)))
    }
}
