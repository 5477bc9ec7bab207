//! courier takes messages that an application publishes in Redis and delivers them to very many web clients.
//!
//! ```text
//! data     Redis -> driver -> reader::redis -> reader::sequence -> reader::router -> queue (batches)
//!                                                                                      |
//!          socket <- driver (ring) <- shard <- hub: channel log + cursors <- encode once per wire format
//! control  client -> driver accept -> shard::connection -> wire::http -> protocol::open -> access
//!              -> hub.subscribe -> [first on this shard?] control queue -> reader::router
//!              -> [first of all?] SUBSCRIBE -> ack -> Joined{position, replay} on the data queue -> live
//! ```
//!
//! Two state machines with first-in-first-out queues between them: the [`reader`] (one thread) turns upstream bytes
//! into messages in order, a [`shard`] (one per core) turns messages into client bytes. Neither does I/O, awaits,
//! reads a clock or draws a random number; the [`driver`] feeds inputs and carries outputs. Modules stand on floors
//! and import only downward; `tests/architecture.rs` reads every `use crate::` line against the list:
//!
//! 0 [`base`] · 1 [`wire`] · 2 [`hub`], [`access`] · 3 [`protocol`] · 4 [`reader`], [`shard`] · 5 [`driver`] ·
//! 6 [`config`] · 7 [`tools`] · 8 [`server`]

pub mod access;
pub mod base;
pub mod config;
pub mod driver;
pub mod hub;
pub mod protocol;
pub mod reader;
pub mod server;
pub mod shard;
pub mod tools;
pub mod wire;
