//! The embedded broker as Python programs meet it: through the real redis-py, in both versions of the protocol.

#![allow(clippy::unwrap_used)] // Tests state what must hold by unwrapping it; these are their helpers.

mod support;

use std::path::Path;
use std::process::Command;

use support::courier::Courier;
use support::process::Process;
use support::stream::Stream;

/// Where `scripts/install-test-tools` puts redis-py.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");

/// A program of a user: publishes, subscribes, keeps keys, and has commands carried out together.
const PROGRAM: &str = r#"
import sys, redis
port, protocol = int(sys.argv[1]), int(sys.argv[2])
client = redis.Redis(port=port, protocol=protocol, decode_responses=True, socket_timeout=20)
assert client.ping() is True

def next_message(subscription):
    message = subscription.get_message(timeout=20)
    assert message is not None, 'no message came'
    return message

# Messages: by name, by pattern, and to an event stream.
named = client.pubsub()
named.subscribe('news')
assert next_message(named) == {'type': 'subscribe', 'pattern': None, 'channel': 'news', 'data': 1}
matched = client.pubsub()
matched.psubscribe('new*')
assert next_message(matched) == {'type': 'psubscribe', 'pattern': None, 'channel': 'new*', 'data': 1}
assert client.publish('news', 'from redis-py') == 3
assert next_message(named) == {'type': 'message', 'pattern': None, 'channel': 'news', 'data': 'from redis-py'}
assert next_message(matched) == \
    {'type': 'pmessage', 'pattern': 'new*', 'channel': 'news', 'data': 'from redis-py'}
assert client.pubsub_numsub('news') == [('news', 2)]
named.unsubscribe('news')
assert next_message(named)['type'] == 'unsubscribe'
assert client.publish('news', 'without it') == 2
named.close()
matched.close()

# Keys.
assert client.set('key', 'value') is True
assert client.get('key') == 'value'
assert client.ttl('key') == -1
assert client.expire('key', 100) is True
assert 0 < client.ttl('key') <= 100
assert client.set('key', 'other', nx=True) is None
assert client.set('brief', 'x', px=60000) is True
assert 0 < client.pttl('brief') <= 60000
assert client.delete('key', 'brief') == 2
assert client.get('key') is None
binary = redis.Redis(port=port, protocol=protocol)
assert binary.set('bytes', bytes(range(256))) and binary.get('bytes') == bytes(range(256))

# MULTI/EXEC, and the same without.
with client.pipeline(transaction=True) as together:
    together.set('count', 1).expire('count', 100).publish('news', 'in a transaction').get('count')
    assert together.execute() == [True, True, 1, '1']
with client.pipeline(transaction=False) as one_by_one:
    one_by_one.get('count').delete('count').get('count')
    assert one_by_one.execute() == ['1', 1, None]
try:
    client.execute_command('NOTACOMMAND')
    raise AssertionError('it is no command')
except redis.ResponseError as error:
    assert 'unknown command' in str(error), error
print('done')
"#;

#[test]
fn redis_py_publishes_subscribes_keeps_keys_and_uses_transactions() {
    assert!(Path::new(PYTHON).exists(), "redis-py is not installed: run `make tools` once");
    let courier = Courier::with_broker(&[]);
    let port = courier.broker.unwrap().port().to_string();
    for protocol in ["2", "3"] {
        let mut stream = Stream::open(courier.web, "channel=news");
        let program = ["-W", "error", "-c", PROGRAM, &port, protocol];
        let (code, output, errors) = Process::run(Command::new(PYTHON).args(program));
        assert_eq!((code, output.as_str()), (0, "done\n"), "RESP{protocol}: {errors}");
        assert_eq!(stream.data_of(3), ["from redis-py", "without it", "in a transaction"]);
    }
}
