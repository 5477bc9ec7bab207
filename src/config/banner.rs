//! What is printed when courier is up: what listens where, and lines to copy. A pure function of the configuration.
//!
//! `command` is how courier was called, so that the lines work where they are read.
//! A caller that let the kernel choose a port (`:0`) puts the port that it got into the configuration first.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::version::VERSION;
use crate::config::address::ListenAddress;
use crate::config::{Config, Mode, Upstream};

pub fn banner(config: &Config, command: &str) -> String {
    let mut text = match config.mode {
        Mode::TryOut => {
            format!("courier {VERSION}, try-out mode: every channel is open, to this machine only\n\n")
        }
        Mode::Production => format!("courier {VERSION}\n\n"),
    };
    for address in &config.listen {
        row(&mut text, "clients", &page(address));
    }
    row(&mut text, "admin", &format!("{} (/metrics /stats /slow /livez /readyz)", page(&config.admin)));
    match &config.upstream {
        Upstream::Redis(redis) => row(&mut text, "messages", &redis.url.to_string()),
        Upstream::Broker(broker) => {
            row(&mut text, "messages", &format!("PUBLISH at {}, as to Redis", broker.listen));
        }
    }
    match config.mode {
        Mode::TryOut => text.push_str(&lines_to_copy(config, command)),
        Mode::Production => {
            let patterns: Vec<_> = config.rules.iter().map(|rule| rule.pattern.as_str()).collect();
            row(&mut text, "channels", &patterns.join(" "));
        }
    }
    text
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<10}{value}");
}

fn lines_to_copy(config: &Config, command: &str) -> String {
    let mut text = String::from("\n");
    if let Some(address) = config.listen.first() {
        let _ = writeln!(text, "Open   {}", page(address));
        match address {
            ListenAddress::Tcp(_) => {
                let _ = writeln!(text, "or run curl -N '{}events?channel=demo'", page(address));
            }
            ListenAddress::Unix { path, .. } => {
                let socket = path.display();
                let _ = writeln!(
                    text,
                    "or run curl -N --unix-socket {socket} 'http://courier/events?channel=demo'"
                );
            }
        }
    }
    let Upstream::Broker(broker) = &config.upstream else { return text };
    let (flag, tool) = match &broker.listen {
        ListenAddress::Tcp(address) => {
            let address = reachable(*address);
            let host = match address.ip() {
                IpAddr::V4(Ipv4Addr::LOCALHOST) => String::new(),
                host => format!("-h {host} "),
            };
            (format!("--redis redis://{address} "), format!("redis-cli {host}-p {}", address.port()))
        }
        ListenAddress::Unix { path, .. } => {
            (format!("--redis unix://{} ", path.display()), format!("redis-cli -s {}", path.display()))
        }
    };
    let flag = if broker.listen.to_string() == USUAL_BROKER { "" } else { &flag };
    let _ = writeln!(text, "then   {command} publish {flag}demo hello");
    let _ = writeln!(text, "or     {tool} PUBLISH demo hello");
    text
}

/// The address of the page, as a browser on this machine reaches it.
fn page(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => format!("http://{}/", reachable(*address)),
        ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}

/// A socket that listens on every interface is reached by loopback too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Where `courier publish` looks without being told.
const USUAL_BROKER: &str = "127.0.0.1:6380";
