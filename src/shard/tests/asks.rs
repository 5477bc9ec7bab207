//! Requests that the application decides about.

use super::*;
use crate::access::{AppAddress, Endpoint, EndpointIndex, Way};
use crate::base::asked::AskOutcome;
use crate::base::channel::ChannelName;
use crate::base::dismissal::{Dismissal, Whom};
use crate::base::limits::{CALLBACK_BREAKER_FAILURES, CALLBACK_BREAKER_PAUSE, KIB};
use crate::base::refusal::Refusal;
use crate::base::time::UnixTime;
use crate::shard::input::AppReply;

/// Channels `app.*` and `own.*` are two applications' to decide about, `out.*` is closed, all others are open.
fn asking(change: impl FnOnce(&mut ShardOptions)) -> Bench {
    let endpoint = |fields: &[&str]| Endpoint {
        address: AppAddress::Tcp { host: "app".into(), port: 80 },
        target: "/ask".into(),
        host: "app".into(),
        fields: fields.iter().map(|name| (*name).to_owned()).collect(),
        sends_peer: true,
        secret: None,
    };
    let rule = |pattern: &str, access| Rule::new(Pattern::parse(pattern).unwrap(), access);
    let rules = Rules::new(vec![
        rule("app.*", Access::new(vec![Way::Callback(EndpointIndex(0))])),
        rule("own.*", Access::new(vec![Way::Session(EndpointIndex(1))])),
        rule("out.*", Access::closed()),
        rule("*", Access::public()),
    ]);
    let mut bench = Bench::with(|options| {
        let site = Site::clone(&options.site);
        let gate = Gate::new(rules).asking(vec![endpoint(&["authorization"]), endpoint(&[])]);
        options.site = Arc::new(Site { gate, ..site });
        change(options);
    });
    bench.input(Input::Calendar(UnixTime::from_secs(1_000)));
    bench
}

fn get(query: &str, fields: &str) -> String {
    format!("GET /events?{query} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

impl Bench {
    #[track_caller]
    fn asked_app(&mut self) -> (Key, String) {
        self.asks.pop_front().expect("the application is asked")
    }

    fn app_says(&mut self, question: Key, status: u16, body: &str) {
        self.input(Input::AppReplied { question, reply: Ok(AppReply { status, body: body.into() }) });
        self.flush();
    }

    /// Answers the next question.
    #[track_caller]
    fn app_answers(&mut self, status: u16, body: &str) {
        let (question, _) = self.asked_app();
        self.app_says(question, status, body);
    }

    #[track_caller]
    fn app_fails(&mut self, outcome: AskOutcome) {
        let (question, _) = self.asked_app();
        self.input(Input::AppReplied { question, reply: Err(outcome) });
        self.flush();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        if self.shard.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.input(Input::Tick);
        }
        self.flush();
    }

    fn questions(&self, outcome: AskOutcome) -> u64 {
        self.shard.counters.questions[outcome as usize].get()
    }

    /// What the slot's client has been sent.
    fn all(&mut self, slot: u32) -> String {
        self.flush();
        String::from_utf8(std::mem::take(self.received.entry(slot).or_default())).unwrap()
    }

    /// The client was told to come back, as any whose stream cannot be served now.
    #[track_caller]
    fn assert_shed(&mut self, slot: u32) {
        let all = self.all(slot);
        let (head, body) = all.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream"), "{head}");
        let retry = body.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n"));
        let millis: u64 = retry.expect("a time to come back and the end").parse().unwrap();
        assert!((1_000..2_000).contains(&millis), "jittered: {millis}");
    }

    #[track_caller]
    fn assert_refused(&mut self, slot: u32, refusal: Refusal) {
        let all = self.all(slot);
        assert!(all.starts_with(&format!("HTTP/1.1 {} ", refusal.status())), "{all}");
        assert!(all.contains(&format!("\"code\":\"{}\"", refusal.code())), "{all}");
        assert!(all.contains("Access-Control-Allow-Origin: *\r\n"), "a page can read why: {all}");
    }
}

#[test]
fn a_stream_opens_when_the_application_has_granted_all_its_channels() {
    let mut bench = asking(|_| {});
    let fields = "Cookie: a=1; b=2\r\nAuthorization: Bearer x\r\nCookie: c=3\r\nX-Other: y\r\n";
    bench.request(1, &get("channel=app.b&channel=open&channel=app.a", fields));
    let (question, request) = bench.asked_app();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /ask HTTP/1.1\r\nHost: app\r\nUser-Agent: courier/"), "{head}");
    assert!(head.ends_with("\r\nauthorization: Bearer x\r\ncookie: a=1; b=2; c=3"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert_eq!(
        body,
        r#"{"right":"subscribe","channels":["app.a","app.b"],"cookies":{"a":"1","b":"2","c":"3"},"headers":{"authorization":"Bearer x"}}"#
    );
    assert!(bench.controls.is_empty(), "nothing is subscribed before");
    bench.app_says(
        question,
        200,
        r#"{"channels": ["app.b", "app.a", "app.c"], "user": 7, "expires": 1010.5}"#,
    );
    bench.join_all(1);
    assert_eq!(bench.body(1), "retry: 2000\nid: a.1\n\n");
    assert_eq!((bench.questions(AskOutcome::Granted), bench.shard.asking.in_flight()), (1, 0));
    bench.pass(Duration::from_secs(11));
    assert!(bench.body(1).contains("event: courier-expired\n"));
    assert_eq!(bench.shard.leftovers(), 0);
}

#[test]
fn only_a_clear_no_is_a_refusal() {
    for (status, body, refusal) in [
        (401, "who are you?", Refusal::ApplicationUnauthorized),
        (403, "", Refusal::ApplicationForbidden),
        (200, r#"{"channels": ["app.b"]}"#, Refusal::ApplicationForbidden),
        (200, r#"{"channels": []}"#, Refusal::ApplicationForbidden),
    ] {
        let mut bench = asking(|_| {});
        bench.request(1, &get("channel=app.a", ""));
        bench.app_answers(status, body);
        bench.assert_refused(1, refusal);
        assert_eq!(bench.questions(AskOutcome::Refused), 1);
    }
    for (status, body, outcome) in [
        (500, "{}", AskOutcome::ServerError),
        (503, "", AskOutcome::ServerError),
        (302, "", AskOutcome::Redirect),
        (400, "", AskOutcome::ClientError),
        (404, "", AskOutcome::ClientError),
        (431, "", AskOutcome::ClientError),
        (408, "", AskOutcome::Status),
        (429, "", AskOutcome::Status),
        (204, "", AskOutcome::Status),
        (200, r#"{"channels": ["app.a"], "expires": 1000}"#, AskOutcome::Expired),
        (200, "", AskOutcome::BadAnswer),
        (200, "[]", AskOutcome::BadAnswer),
        (200, "{}", AskOutcome::BadAnswer),
        (200, r#"{"channels": "app.a"}"#, AskOutcome::BadAnswer),
        (200, r#"{"channels": ["app.a"], "user": ""}"#, AskOutcome::BadAnswer),
        (200, r#"{"channels": ["app.a"], "user": "a\nb"}"#, AskOutcome::BadAnswer),
        (200, r#"{"channels": ["app.a"], "expires": "soon"}"#, AskOutcome::BadAnswer),
        (200, r#"{"channels": ["app.a"], "expires": -1}"#, AskOutcome::BadAnswer),
        (200, r#"{"channels": ["app.a"], "expires": 1e300}"#, AskOutcome::BadAnswer),
        (200, r#"{"channels": ["app.a"], "cache": -5}"#, AskOutcome::BadAnswer),
    ] {
        let mut bench = asking(|_| {});
        bench.request(1, &get("channel=app.a", ""));
        bench.app_answers(status, body);
        bench.assert_shed(1);
        assert_eq!(bench.questions(outcome), 1, "{status} {body}");
        assert_eq!(bench.disconnects(Disconnect::ApplicationUnavailable), 1);
    }
}

#[test]
fn a_request_that_two_applications_let_in_as_different_users_is_refused() {
    for (second, refusal) in [("8", Some(Refusal::TwoUsers)), ("7", None), ("null", None)] {
        // The second answer comes from the application, then from what is kept of it.
        let mut bench = asking(|_| {});
        for slot in [1, 2] {
            bench.request(slot, &get("channel=app.a&channel=own.a", ""));
            for (channel, user) in
                [("app.a", "7"), ("own.a", second)].into_iter().take(2 * (2 - slot as usize))
            {
                bench.app_answers(
                    200,
                    &format!(r#"{{"channels": ["{channel}"], "user": {user}, "cache": 60}}"#),
                );
            }
            assert!(bench.asks.is_empty());
            match refusal {
                Some(refusal) => bench.assert_refused(slot, refusal),
                None => bench.join_all(1),
            }
        }
        assert_eq!(bench.shard.grants.len(), if refusal.is_some() { 0 } else { 2 });
    }
}

#[test]
fn nobody_is_asked_about_what_the_rules_refuse() {
    let mut bench = asking(|_| {});
    bench.request(1, &get("channel=app.a&channel=out.a", ""));
    bench.assert_refused(1, Refusal::ChannelNotOpen);
    assert!(bench.asks.is_empty());
}

#[test]
fn channels_of_two_applications_are_asked_one_after_the_other() {
    let query = "channel=app.a&channel=own.a";
    let mut bench = asking(|_| {});
    bench.request(1, &get(query, "Cookie: s=1\r\nAuthorization: Bearer x\r\n"));
    let (first, request) = bench.asked_app();
    assert!(request.contains(r#""channels":["app.a"]"#) && bench.asks.is_empty());
    bench.app_says(first, 200, r#"{"channels": ["app.a"], "user": "ann", "expires": 2000}"#);
    let (second, request) = bench.asked_app();
    assert!(
        request.ends_with(r#"{"right":"subscribe","channels":["own.a"],"cookies":{"s":"1"}}"#),
        "{request}"
    );
    assert!(!request.contains("Bearer"), "{request}");
    bench.app_says(second, 200, r#"{"channels": ["own.a"], "expires": 1005}"#);
    bench.join_all(1);
    assert_eq!(bench.body(1), "retry: 2000\nid: a.1\n\n");
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.disconnects(Disconnect::Expired), 1, "the earlier end holds");
    // The first refusal is the end.
    let mut bench = asking(|_| {});
    bench.request(1, &get(query, ""));
    bench.app_answers(403, "");
    bench.assert_refused(1, Refusal::ApplicationForbidden);
    assert!(bench.asks.is_empty());
}

#[test]
fn a_storm_of_the_same_question_is_one_question() {
    let mut bench = asking(|_| {});
    let request = |order: &str| get(order, "Cookie: s=1\r\n");
    for slot in 0..1_000 {
        // The order of channels decides nothing.
        let query = ["channel=app.a&channel=app.b", "channel=app.b&channel=app.a"][slot as usize % 2];
        bench.request(slot, &request(query));
    }
    bench.request(1_000, &get("channel=app.a&channel=app.b", "Cookie: s=2\r\n"));
    let (question, _) = bench.asked_app();
    let (other, _) = bench.asked_app();
    assert!(bench.asks.is_empty());
    assert_eq!(bench.shard.counters.cells.callback_joined.get(), 999);
    bench.app_says(question, 200, r#"{"channels": ["app.a", "app.b"]}"#);
    bench.join_all(1);
    assert!((0..1_000).all(|slot| bench.body(slot).starts_with("retry: 2000\n")));
    bench.app_says(other, 403, "");
    bench.assert_refused(1_000, Refusal::ApplicationForbidden);
    assert_eq!(bench.shard.asking.waiters(), 0);
}

#[test]
fn an_answer_is_given_again_for_as_long_as_it_says_to_who_shows_the_same() {
    for (status, body) in [(200, r#"{"channels": ["app.a"], "cache": 10}"#), (403, r#"{"cache": 10}"#)] {
        let mut bench = asking(|_| {});
        bench.request(1, &get("channel=app.a", "Cookie: s=1\r\n"));
        bench.app_answers(status, body);
        bench.pass(Duration::from_millis(9_900));
        bench.request(2, &get("channel=app.a", "Cookie: s=1\r\n"));
        assert!(bench.asks.is_empty());
        assert_eq!(bench.shard.counters.cells.callback_cache_hits.get(), 1);
        bench.request(3, &get("channel=app.a", "Cookie: s=2\r\n"));
        bench.request(4, &get("channel=app.b", "Cookie: s=1\r\n"));
        assert_eq!(bench.asks.len(), 2, "what others show is another question");
        bench.asks.clear();
        bench.pass(Duration::from_millis(100));
        bench.request(5, &get("channel=app.a", "Cookie: s=1\r\n"));
        assert_eq!(bench.asks.len(), 1, "its time is over");
    }
    // What says nothing of it is not kept.
    let mut bench = asking(|_| {});
    for slot in 1..3 {
        bench.request(slot, &get("channel=app.a", ""));
        bench.app_answers(200, r#"{"channels": ["app.a"]}"#);
    }
}

#[test]
fn an_order_to_end_streams_forgets_the_answers_that_let_them_in() {
    for (whom, stays) in
        [(Whom::User("ann".into()), true), (Whom::Channel(ChannelName::parse(b"app.a").unwrap()), false)]
    {
        let mut bench = asking(|_| {});
        let ask = |bench: &mut Bench, slot: u32, session: &str| {
            bench.request(slot, &get("channel=app.a", &format!("Cookie: s={session}\r\n")));
            bench.asks.len()
        };
        let grant = |user: &str| format!(r#"{{"channels": ["app.a"], "user": "{user}", "cache": 60}}"#);
        for (slot, user) in [(1, "ann"), (2, "bob")] {
            ask(&mut bench, slot, user);
            bench.app_answers(200, &grant(user));
        }
        ask(&mut bench, 3, "under way");
        let (before, _) = bench.asked_app();
        let dismissal = Dismissal { whom, until: UnixTime::from_secs(1_000) };
        bench.input(Input::Delivery(Delivery::Dismiss(dismissal)));
        // It is asked anew, whoever waits for what was under way; whom the order is not about may be known still.
        assert_eq!(ask(&mut bench, 4, "ann"), 1);
        assert_eq!(ask(&mut bench, 5, "under way"), 2);
        assert_eq!(ask(&mut bench, 6, "bob"), if stays { 2 } else { 3 });
        bench.app_answers(403, "");
        bench.assert_refused(4, Refusal::ApplicationForbidden);
        let (after, _) = bench.asked_app();
        bench.app_says(before, 200, &grant("ann"));
        bench.asks.clear();
        assert_eq!(ask(&mut bench, 7, "under way"), 0, "it waits for the later one");
        assert_eq!(bench.shard.asking.waiters(), if stays { 2 } else { 3 });
        bench.app_says(after, 403, r#"{"cache": 60}"#);
        bench.assert_refused(5, Refusal::ApplicationForbidden);
        bench.assert_refused(7, Refusal::ApplicationForbidden);
        assert_eq!(ask(&mut bench, 8, "under way"), 0, "the later answer is kept");
        bench.assert_refused(8, Refusal::ApplicationForbidden);
    }
}

#[test]
fn who_waits_for_too_long_is_told_to_come_back() {
    let mut bench = asking(|_| {});
    bench.request(1, &get("channel=app.a", ""));
    let (question, _) = bench.asked_app();
    bench.pass(Duration::from_millis(2_999));
    assert_eq!(bench.all(1), "");
    bench.pass(Duration::from_millis(1));
    bench.assert_shed(1);
    assert!(bench.outputs.contains(&format!("{:?}", Output::StopAsking { question })));
    assert_eq!(bench.questions(AskOutcome::Timeout), 1);
    // An answer that was on its way by then is for nobody.
    bench.app_says(question, 200, r#"{"channels": ["app.a"], "cache": 60}"#);
    assert_eq!((bench.shard.leftovers(), bench.shard.asking.in_flight()), (0, 0));
}

#[test]
fn questions_beyond_the_bound_wait_and_beyond_that_are_not_asked() {
    let mut bench = asking(|options| {
        options.limits.callback_in_flight = 2;
        options.limits.callback_waiting = 3;
    });
    for slot in 0..6 {
        bench.request(slot, &get(&format!("channel=app.{slot}"), ""));
    }
    let cells = &bench.shard.counters.cells;
    assert_eq!((bench.asks.len(), cells.callback_in_flight.get(), cells.callback_waiting.get()), (2, 2, 3));
    bench.assert_shed(5);
    bench.app_answers(403, "");
    assert_eq!(bench.asks.len(), 2, "the next has its turn");
    // The others wait for as long as an answer may take, then their clients are told to come back.
    bench.pass(Duration::from_secs(3));
    for slot in 1..5 {
        bench.assert_shed(slot);
    }
    assert_eq!(bench.questions(AskOutcome::Timeout), 2, "the others were never asked");
    assert_eq!((bench.shard.asking.waiters(), bench.shard.asking.waiting()), (0, 0));
}

#[test]
fn an_application_that_fails_again_and_again_is_left_alone_for_a_while() {
    let mut bench = asking(|options| options.limits.callback_in_flight = 5);
    let request =
        |bench: &mut Bench, slot: u32| bench.request(slot, &get(&format!("channel=app.{slot}"), ""));
    for slot in 0..7 {
        request(&mut bench, slot);
    }
    (1..CALLBACK_BREAKER_FAILURES).for_each(|_| bench.app_fails(AskOutcome::Unreachable));
    let unavailable = Output::AppUnavailable { endpoint: EndpointIndex(0), last: AskOutcome::Closed };
    assert!(!bench.outputs.contains(&format!("{unavailable:?}")));
    bench.app_fails(AskOutcome::Closed);
    assert!(bench.outputs.contains(&format!("{unavailable:?}")));
    (0..5).for_each(|slot| bench.assert_shed(slot));
    // Two had taken the places of the first; what nobody answers any more ends by its time.
    assert_eq!(bench.asks.len(), 2);
    bench.asks.clear();
    request(&mut bench, 10);
    bench.assert_shed(10);
    // The other application is asked as ever.
    bench.request(20, &get("channel=own.a", ""));
    bench.app_answers(403, "");
    bench.assert_refused(20, Refusal::ApplicationForbidden);
    assert_eq!(bench.shard.counters.cells.callback_breakers_open.get(), 1);
    // After the pause one question shows whether it is back.
    bench.pass(CALLBACK_BREAKER_PAUSE);
    request(&mut bench, 11);
    request(&mut bench, 12);
    bench.assert_shed(12);
    bench.app_fails(AskOutcome::Timeout);
    bench.assert_shed(11);
    bench.pass(CALLBACK_BREAKER_PAUSE);
    request(&mut bench, 13);
    bench.app_answers(401, "");
    bench.assert_refused(13, Refusal::ApplicationUnauthorized);
    let back = format!("{:?}", Output::AppBack { endpoint: EndpointIndex(0) });
    assert_eq!(bench.outputs.iter().filter(|output| **output == back).count(), 1);
    request(&mut bench, 14);
    request(&mut bench, 15);
    assert_eq!(bench.asks.len(), 2);
    assert_eq!(bench.shard.counters.cells.callback_breakers_open.get(), 0);
}

#[test]
fn what_an_application_has_against_one_client_shuts_out_no_other() {
    for (status, body) in
        [(400, "a malformed cookie"), (431, ""), (200, r#"{"channels": ["app.a"], "expires": 1000}"#)]
    {
        let mut bench = asking(|_| {});
        for slot in 0..2 * CALLBACK_BREAKER_FAILURES {
            bench.request(slot, &get("channel=app.a", ""));
            bench.app_answers(status, body);
            bench.assert_shed(slot);
        }
        bench.request(100, &get("channel=app.a", ""));
        bench.app_answers(403, "");
        bench.assert_refused(100, Refusal::ApplicationForbidden);
        // It shows as well as any other answer that the application is back.
        for slot in 200..200 + CALLBACK_BREAKER_FAILURES {
            bench.request(slot, &get("channel=app.a", ""));
            bench.app_answers(500, "");
        }
        bench.pass(CALLBACK_BREAKER_PAUSE);
        bench.request(300, &get("channel=app.a", ""));
        bench.app_answers(status, body);
        assert_eq!(bench.shard.counters.cells.callback_breakers_open.get(), 0);
    }
}

#[test]
fn who_goes_away_is_forgotten_and_the_answer_serves_others() {
    let mut bench = asking(|_| {});
    let ask = get("channel=app.a", "");
    let [gone, half_closed, _] = [1, 2, 3].map(|slot| bench.request(slot, &ask));
    bench.input(Input::HungUp { socket: gone, cause: HangUp::Reset });
    // Who has closed its side waits for no stream.
    bench.input(Input::HungUp { socket: half_closed, cause: HangUp::Closed });
    assert_eq!((bench.shard.connections(), bench.shard.asking.waiters()), (1, 1));
    // The slot's next client is somebody else.
    bench.request(1, &get("channel=app.b", ""));
    bench.app_answers(200, r#"{"channels": ["app.a"]}"#);
    bench.join_all(1);
    assert!(bench.body(3).starts_with("retry: "));
    assert_eq!(bench.all(1), "");
    bench.app_answers(403, "");
    bench.assert_refused(1, Refusal::ApplicationForbidden);
}

#[test]
fn a_question_that_nobody_waits_for_is_asked_only_if_it_is_on_its_way() {
    let mut bench = asking(|options| options.limits.callback_in_flight = 1);
    let first = bench.request(1, &get("channel=app.a", ""));
    let second = bench.request(2, &get("channel=app.b", ""));
    for socket in [first, second] {
        bench.input(Input::HungUp { socket, cause: HangUp::Reset });
    }
    assert_eq!((bench.shard.asking.in_flight(), bench.shard.asking.waiting()), (1, 0));
    bench.app_answers(200, r#"{"channels": ["app.a"], "cache": 5}"#);
    assert!(bench.asks.is_empty());
    bench.request(3, &get("channel=app.a", ""));
    bench.join_all(1);
    assert!(bench.body(3).starts_with("retry: "), "the answer was kept for the next");
    assert_eq!(bench.shard.next_deadline(), None);
}

#[test]
fn head_is_decided_like_get_and_says_when_nobody_can_say() {
    let mut bench = asking(|_| {});
    let head = get("channel=app.a", "").replace("GET", "HEAD");
    let socket = bench.request(1, &head);
    // It may close its side and still waits for its answer.
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    bench.app_answers(200, r#"{"channels": ["app.a"]}"#);
    let answer = bench.all(1);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    bench.request(2, &head);
    bench.app_fails(AskOutcome::Malformed);
    let answer = bench.all(2);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 2\r\n"), "{answer}");
    assert_eq!(bench.disconnects(Disconnect::ApplicationUnavailable), 1);
    bench.request(3, &head);
    bench.app_answers(403, "");
    assert!(bench.all(3).starts_with("HTTP/1.1 403 "));
}

#[test]
fn where_503_is_wanted_nobody_to_say_is_503() {
    let mut bench = asking(|options| {
        options.site = Arc::new(Site { shedding: Shedding::Unavailable, ..Site::clone(&options.site) });
    });
    bench.request(1, &get("channel=app.a", ""));
    bench.app_fails(AskOutcome::Unreachable);
    let answer = bench.all(1);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 2\r\n"), "{answer}");
}

#[test]
fn requests_behind_one_that_waits_are_answered_behind_it() {
    let mut bench = asking(|_| {});
    let pipelined = get("channel=app.a", "") + &get("channel=app.b", "") + &get("channel=out.a", "");
    bench.request(1, &pipelined);
    assert_eq!(bench.asks.len(), 1);
    bench.app_answers(403, "");
    bench.assert_refused(1, Refusal::ApplicationForbidden);
    bench.app_answers(401, "");
    let answers = bench.all(1);
    assert!(
        answers.contains("application-unauthorized") && answers.contains("channel-not-open"),
        "{answers}"
    );
}

#[test]
fn who_sends_on_and_on_while_it_waits_is_disconnected() {
    let mut bench = asking(|_| {});
    let socket = bench.request(1, &get("channel=app.a", ""));
    bench.input(Input::Received { socket, bytes: &[b'x'; 70_000] });
    assert_eq!(bench.disconnects(Disconnect::BadRequest), 0);
    bench.input(Input::Received { socket, bytes: &[b'x'; 70_000] });
    assert_eq!(bench.disconnects(Disconnect::BadRequest), 1);
    assert_eq!(bench.shard.asking.waiters(), 0);
}

#[test]
fn a_shard_that_stops_asks_nobody_and_lets_nobody_wait() {
    let mut bench = asking(|options| options.drain_window = Duration::from_secs(10));
    bench.request(1, &get("channel=app.a", ""));
    let (question, _) = bench.asked_app();
    bench.input(Input::Drain);
    bench.assert_shed(1);
    bench.request(2, &get("channel=app.a", ""));
    bench.assert_shed(2);
    assert!(bench.asks.is_empty());
    assert_eq!(bench.disconnects(Disconnect::Drain), 2);
    bench.app_says(question, 200, r#"{"channels": ["app.a"]}"#);
    assert_eq!(bench.shard.leftovers(), 0);
}

#[test]
fn nobody_is_asked_for_who_could_not_be_served() {
    let mut bench = asking(|options| options.limits.connections_per_shard = 1);
    bench.request(1, &get("channel=open", ""));
    bench.request(2, &get("channel=app.a", ""));
    bench.assert_shed(2);
    assert!(bench.asks.is_empty());
    assert_eq!(bench.disconnects(Disconnect::ConnectionLimit), 1);
}

#[test]
fn cookies_of_an_untrusted_page_are_not_shown_to_the_application() {
    let fields = "Origin: https://evil.example\r\nCookie: s=1\r\n";
    let mut bench = asking(|_| {});
    bench.request(1, &get("channel=own.a", fields));
    bench.assert_refused(1, Refusal::OriginNotAllowed);
    assert!(bench.asks.is_empty(), "without its cookies there is nothing to ask with");
    // The other way may let it in by something else.
    bench.request(2, &get("channel=app.a", fields));
    let (question, request) = bench.asked_app();
    assert!(!request.contains("s=1") && request.contains(r#""cookies":{}"#), "{request}");
    bench.app_says(question, 401, "");
    bench.assert_refused(2, Refusal::OriginNotAllowed);
}

/// Clients whose sockets take nothing: one that asks this has the longest tail, others leave no room for one answer more.
fn at_the_bound_of_tails(ask: &str, victim: u32, waiters: u32) -> (Bench, SocketKey) {
    let mut bench = asking(|options| options.limits.tail_bytes = 64 * KIB);
    let refused = get("channel=out.a", "");
    bench.request(30, &refused);
    let each = bench.all(30).len();
    bench.room = (0..30).map(|slot| (slot, 0)).collect();
    (0..waiters).filter(|slot| *slot != victim).for_each(|slot| _ = bench.request(slot, ask));
    let longest = 16_000 / each;
    let key = bench.request(victim, &(refused.repeat(longest) + ask));
    let mut left = 64 * KIB / each - longest;
    for slot in waiters.. {
        let count = left.min(longest - 1);
        if count == 0 {
            break;
        }
        bench.request(slot, &refused.repeat(count));
        left -= count;
    }
    bench.flush();
    assert_eq!((bench.shard.asking.waiters(), bench.asks.len()), (waiters as usize, 1));
    (bench, key)
}

#[test]
fn what_a_waiter_is_told_may_end_a_later_one_of_the_same_question() {
    let ask = get("channel=app.a", "").replace("GET", "HEAD");
    for (status, body) in [(401, ""), (500, ""), (200, r#"{"channels": ["app.a"]}"#)] {
        let (mut bench, _) = at_the_bound_of_tails(&ask, 5, 6);
        bench.app_answers(status, body);
        assert_eq!(bench.disconnects(Disconnect::TailLimit), 1, "{status}");
        assert_eq!(bench.shard.asking.waiters(), 0);
        let ends: u64 = Disconnect::ALL.iter().map(|reason| bench.disconnects(*reason)).sum();
        assert_eq!(
            ends,
            if status == 401 { 1 } else { 6 },
            "{status}: who is refused may ask for something else"
        );
    }
}

#[test]
fn whoever_ends_by_what_it_is_told_ends_once() {
    let head = get("channel=app.a", "").replace("GET", "HEAD");
    for (ask, is_half_closed) in [(&head, true), (&head, false), (&get("channel=app.a", ""), false)] {
        let (mut bench, socket) = at_the_bound_of_tails(ask, 0, 1);
        let left = bench.shard.connections() - u64::from(is_half_closed);
        if is_half_closed {
            bench.input(Input::HungUp { socket, cause: HangUp::Closed });
        }
        bench.app_fails(AskOutcome::Closed);
        let census = bench.shard.census.connections() as u64;
        assert_eq!((bench.shard.connections(), census), (left, left), "a descriptor is closed once");
        assert_eq!(bench.disconnects(Disconnect::TailLimit), 1);
        assert_eq!(bench.disconnects(Disconnect::ApplicationUnavailable), 0);
    }
}
