//! The application that some channels' rules ask: it lets in whom the cookie says, late, failing, or never.
//!
//! What it answers depends on the question alone, so that whoever is let in without being allowed to was let in by courier.

use std::collections::BTreeMap;

use super::World;
use crate::base::asked::AskOutcome;
use crate::base::number::index;
use crate::base::random::Random;
use crate::base::slab::Key;
use crate::shard::input::{AppReply, Input};

/// The cookies of those whom the application lets in, and of others.
pub(super) const ALLOWED: &str = "may=yes";
pub(super) const FORBIDDEN: &str = "may=no";

/// As whom it lets everybody in.
pub(super) const USER: &str = "7";

/// What one shard has asked and not been told.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<Key, String>,
    /// What is not wanted any more; its answer may still come.
    stopped: Vec<(Key, String)>,
}

impl Questions {
    pub(super) fn ask(&mut self, question: Key, request: Vec<u8>) {
        let request = String::from_utf8(request).expect("clients write texts");
        let before = self.open.insert(question, request);
        assert!(before.is_none(), "a question is asked once");
    }

    pub(super) fn stop(&mut self, question: Key) {
        let request = self.open.remove(&question).expect("a question is stopped while it is open");
        self.stopped.push((question, request));
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    fn take_any(&mut self, random: &mut Random) -> Option<(Key, String)> {
        let question = *self.open.keys().nth(index(random.below(self.open.len().max(1) as u64)))?;
        self.open.remove_entry(&question)
    }
}

impl World {
    /// The application answers one question of a shard, in some way, or does not yet.
    pub(super) fn app_moves(&mut self, shard: usize) {
        let side = &mut self.shards[shard];
        if side.is_gone {
            return;
        }
        // What was stopped is for nobody, whatever is said.
        if self.app_random.below(4) == 0
            && let Some((question, request)) = side.questions.stopped.pop()
        {
            let reply = Ok(answer(&request, &mut self.app_random));
            side.input(self.now, Input::AppReplied { question, reply });
            return self.carry_out_shard(shard);
        }
        let is_calm = self.is_app_calm;
        if !is_calm && self.app_random.below(3) == 0 {
            return;
        }
        let Some((question, request)) = side.questions.take_any(&mut self.app_random) else { return };
        let reply = match self.app_random.below(6) {
            0 if !is_calm => Err(any_failure(&mut self.app_random)),
            1 if !is_calm => Ok(AppReply { status: 503, body: Vec::new() }),
            _ => Ok(answer(&request, &mut self.app_random)),
        };
        self.summary.app_answers += 1;
        side.input(self.now, Input::AppReplied { question, reply });
        self.carry_out_shard(shard);
    }
}

/// By the cookie; for a while, now and then.
fn answer(request: &str, random: &mut Random) -> AppReply {
    let (head, body) = request.split_once("\r\n\r\n").expect("a whole request");
    let cache = random.below(8);
    if head.contains(FORBIDDEN) {
        return AppReply { status: 403, body: format!("{{\"cache\":{cache}}}").into_bytes() };
    }
    assert!(head.contains(ALLOWED), "everything that was shown is sent: {head}");
    let asked: serde_json::Value = serde_json::from_str(body).expect("the body is JSON");
    let granted = serde_json::json!({ "channels": asked["channels"], "user": USER, "cache": cache });
    AppReply { status: 200, body: granted.to_string().into_bytes() }
}

fn any_failure(random: &mut Random) -> AskOutcome {
    [AskOutcome::Unreachable, AskOutcome::Closed, AskOutcome::Malformed][index(random.below(3))]
}
