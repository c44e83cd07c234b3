//! Where services listen: free ports are chosen, and answered to templates.
#![allow(clippy::disallowed_methods, reason = "shell: asks the system for free ports")]

use crate::template::Lookup;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;

/// A port nobody listens on, and none of `taken`.
///
/// # Errors
/// The system gives none.
pub(super) fn free(taken: &[u16]) -> Result<u16, String> {
    // Those that were given out before are held open meanwhile, so that the system has to find another one.
    let mut held = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(|error| format!("gets no free port: {error}"))?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        if !taken.contains(&port) {
            return Ok(port);
        }
        held.push(listener);
    }
}

/// Whether somebody listens there already.
pub(super) fn is_taken(port: u16) -> bool {
    let in_use =
        |bound: std::io::Result<TcpListener>| bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
    in_use(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
        || in_use(TcpListener::bind((Ipv6Addr::LOCALHOST, port)))
}

/// Answers with the ports of services that run; everything else is asked of somebody else.
#[derive(Debug)]
pub(super) struct Ports {
    /// By the name that templates use.
    pub(super) ports: Vec<(String, u16)>,
    /// Who answers the rest.
    pub(super) otherwise: Option<Arc<dyn Lookup>>,
}

impl Ports {
    fn otherwise(&self) -> Result<&Arc<dyn Lookup>, String> {
        self.otherwise.as_ref().ok_or_else(|| "nobody can answer that here".to_owned())
    }
}

impl Lookup for Ports {
    fn outs_of(&self, target: &str) -> Result<Vec<String>, String> {
        self.otherwise()?.outs_of(target)
    }

    fn exported(&self, target: &str, name: &str) -> Result<String, String> {
        self.otherwise()?.exported(target, name)
    }

    fn exporters(&self, target: &str, name: &str) -> Result<Vec<String>, String> {
        self.otherwise()?.exporters(target, name)
    }

    fn port_of(&self, service: &str) -> Result<String, String> {
        match self.ports.iter().find(|(name, _)| name == service) {
            Some((_, port)) => Ok(port.to_string()),
            None => self.otherwise()?.port_of(service),
        }
    }
}
