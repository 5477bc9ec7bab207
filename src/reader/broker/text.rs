//! Redis's sentences, word for word: client libraries and people search for them.

pub(super) const SYNTAX: &[u8] = b"ERR syntax error";
pub(super) const NOT_AN_INTEGER: &[u8] = b"ERR value is not an integer or out of range";
pub(super) const OUT_OF_MEMORY: &[u8] = b"OOM command not allowed when used memory > 'maxmemory'.";
pub(super) const LOGIN_REQUIRED: &[u8] = b"NOAUTH Authentication required.";
pub(super) const LOGIN_REQUIRED_BY_HELLO: &[u8] =
    b"NOAUTH HELLO must be called with the client already authenticated, \
    otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
    protocol version at the same time";
pub(super) const WRONG_PASSWORD: &[u8] = b"WRONGPASS invalid username-password pair or user is disabled.";
pub(super) const NO_PASSWORD_SET: &[u8] =
    b"ERR AUTH <password> called without any password configured for the default \
    user. Are you sure your configuration is correct?";
pub(super) const PROTOCOL_NOT_AN_INTEGER: &[u8] = b"ERR Protocol version is not an integer or out of range";
pub(super) const PROTOCOL_UNSUPPORTED: &[u8] = b"NOPROTO unsupported protocol version";
pub(super) const BAD_CLIENT_NAME: &[u8] =
    b"ERR Client names cannot contain spaces, newlines or special characters.";
pub(super) const BAD_CLIENT_ID: &[u8] = b"ERR Invalid client ID";
pub(super) const DATABASE_OUT_OF_RANGE: &[u8] = b"ERR DB index is out of range";
pub(super) const NOT_AN_INT: &[u8] =
    b"ERR value is out of range, value must between -2147483648 and 2147483647";
pub(super) const EXPIRE_NX_AND_OTHERS: &[u8] =
    b"ERR NX and XX, GT or LT options at the same time are not compatible";
pub(super) const EXPIRE_GT_AND_LT: &[u8] = b"ERR GT and LT options at the same time are not compatible";
pub(super) const NESTED_MULTI: &[u8] = b"ERR MULTI calls can not be nested";
pub(super) const EXEC_WITHOUT_MULTI: &[u8] = b"ERR EXEC without MULTI";
pub(super) const DISCARD_WITHOUT_MULTI: &[u8] = b"ERR DISCARD without MULTI";
pub(super) const WATCH_INSIDE_MULTI: &[u8] = b"ERR WATCH inside MULTI is not allowed";
pub(super) const EXEC_ABORTED: &[u8] = b"EXECABORT Transaction discarded because of previous errors.";
pub(super) const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

pub(super) fn unknown_command<'a>(name: &[u8], arguments: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut quoted = Vec::new();
    for argument in arguments {
        if quoted.len() >= QUOTED_BYTES {
            break;
        }
        let room = QUOTED_BYTES - quoted.len();
        quoted.push(b'\'');
        quoted.extend_from_slice(as_c_string(argument, room));
        quoted.extend_from_slice(b"' ");
    }
    let name = as_c_string(name, QUOTED_BYTES);
    [b"ERR unknown command '", name, b"', with args beginning with: ", &quoted].concat()
}

pub(super) fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Vec<u8> {
    let subcommand = as_c_string(subcommand, QUOTED_BYTES);
    let command = command.to_ascii_uppercase();
    [b"ERR unknown subcommand '", subcommand, b"'. Try ", command.as_bytes(), b" HELP."].concat()
}

pub(super) fn wrong_arity(command: &str) -> Vec<u8> {
    format!("ERR wrong number of arguments for '{command}' command").into_bytes()
}

pub(super) fn invalid_expire(command: &str) -> Vec<u8> {
    format!("ERR invalid expire time in '{command}' command").into_bytes()
}

pub(super) fn while_subscribed(command: &str) -> Vec<u8> {
    format!(
        "ERR Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
         this context"
    )
    .into_bytes()
}

pub(super) fn unsupported_option(option: &[u8]) -> Vec<u8> {
    [b"ERR Unsupported option ", as_c_string(option, usize::MAX)].concat()
}

pub(super) fn hello_option(option: &[u8]) -> Vec<u8> {
    [b"ERR Syntax error in HELLO option '", as_c_string(option, usize::MAX), b"'"].concat()
}

pub(super) fn unknown_client_type(name: &[u8]) -> Vec<u8> {
    [b"ERR Unknown client type '", as_c_string(name, usize::MAX), b"'"].concat()
}

pub(super) fn unrecognized_option(option: &[u8]) -> Vec<u8> {
    [b"ERR Unrecognized option '", as_c_string(option, usize::MAX), b"'"].concat()
}

pub(super) fn bad_client_attribute(name: &str) -> Vec<u8> {
    format!("ERR {name} cannot contain spaces, newlines or special characters.").into_bytes()
}

pub(super) fn wrong_subcommand_arity(command: &str, subcommand: &[u8]) -> Vec<u8> {
    let subcommand = as_c_string(subcommand, QUOTED_BYTES);
    [
        b"ERR unknown subcommand or wrong number of arguments for '",
        subcommand,
        b"'. Try ",
        command.as_bytes(),
        b" HELP.",
    ]
    .concat()
}

/// What Redis quotes of an argument: it prints C strings, up to a length.
fn as_c_string(argument: &[u8], length_max: usize) -> &[u8] {
    let end = memchr::memchr(0, argument).unwrap_or(argument.len());
    &argument[..end.min(length_max)]
}

/// How much of an unknown command, and of its arguments, is quoted.
const QUOTED_BYTES: usize = 128;
