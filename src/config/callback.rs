//! Where the ways `callback` and `session` of all rows ask: what a row says itself, and the options for what it leaves out.

use toml::Spanned;
use toml::de::DeValue;

use crate::access::{Endpoint, EndpointIndex, Rule, Way};
use crate::base::limits::CALLBACK_ENDPOINTS;
use crate::base::secret::Secret;
use crate::config::app_url::AppUrl;
use crate::config::error::{ConfigError, Origin};
use crate::config::file::{FileRule, Source, texts, unknown};
use crate::config::print::quoted;
use crate::config::resolve::password;
use crate::config::settings::Settings;
use crate::config::table::{Key, Kind};
use crate::config::value::Value;

/// The member `callback` or `session` of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowAsks {
    way: &'static str,
    url: Option<AppUrl>,
    headers: Option<Vec<String>>,
}

impl RowAsks {
    /// As a line of the row.
    pub(super) fn written(&self) -> String {
        let url = self.url.iter().map(|url| format!("url = {}", quoted(&url.to_string())));
        let names =
            |names: &Vec<String>| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let headers = self.headers.iter().map(|headers| format!("headers = [{}]", names(headers)));
        format!("{} = {{ {} }}\n", self.way, url.chain(headers).collect::<Vec<_>>().join(", "))
    }
}

/// Reads the member of a row.
pub(super) fn read_row(
    source: &Source<'_>,
    name: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    asks: &mut Option<RowAsks>,
) -> Result<(), ConfigError> {
    let (way, known): (_, &[_]) = match name.get_ref().as_ref() {
        "session" => ("session", &["url"]),
        _ => ("callback", &["url", "headers"]),
    };
    let origin = source.origin(name.span().start);
    let key = format!("channels.{way}");
    let shape = "a table, as in { url = \"http://127.0.0.1:8000/courier\" }";
    let Some(members) = value.get_ref().as_table() else {
        return Err(ConfigError::value(&origin, &key, &source.written(Kind::AppUrl, value), shape));
    };
    if asks.is_some() {
        return Err(ConfigError::at(&origin, "callback and session: a row has one of them"));
    }
    let read = asks.insert(RowAsks { way, url: None, headers: None });
    for (name, value) in members {
        read_member(source, &key, known, (name, value), read)?;
    }
    Ok(())
}

fn read_member(
    source: &Source<'_>,
    key: &str,
    known: &[&str],
    (name, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>),
    read: &mut RowAsks,
) -> Result<(), ConfigError> {
    let origin = source.origin(name.span().start);
    let member = format!("{key}.{}", name.get_ref());
    if !known.contains(&name.get_ref().as_ref()) {
        let known: Vec<String> = known.iter().map(|name| format!("{key}.{name}")).collect();
        return Err(ConfigError::at(&origin, unknown(&member, known.iter().map(String::as_str))));
    }
    let kind = if name.get_ref().as_ref() == "url" { Kind::AppUrl } else { Kind::Fields };
    // A row that sends nothing where the others do says so by an empty list.
    if value.get_ref().as_array().is_some_and(|array| kind == Kind::Fields && array.is_empty()) {
        read.headers = Some(Vec::new());
        return Ok(());
    }
    let parsed = texts(kind, value.get_ref()).and_then(|texts| kind.parse(&texts).map_err(|bad| bad.remedy));
    match parsed {
        Ok(Value::AppUrl(url)) => read.url = Some(url),
        Ok(Value::Fields(names)) => read.headers = Some(names),
        Ok(_) => unreachable!("a member is of its kind"),
        Err(remedy) => {
            return Err(ConfigError::value(&origin, &member, &source.written(kind, value), remedy));
        }
    }
    Ok(())
}

/// Whether a row's ways and members fit together.
pub(super) fn check_row(origin: &Origin, rule: &Rule, asks: Option<&RowAsks>) -> Result<(), ConfigError> {
    let ways = || rule.access.ways().iter().chain(rule.publish.ways());
    let is_callback = ways().any(|way| matches!(way, Way::Callback(_)));
    let is_session = ways().any(|way| matches!(way, Way::Session(_)));
    if rule.publish.ways().iter().any(|way| matches!(way, Way::Callback(_) | Way::Session(_))) {
        let remedy = "the application is not asked who may publish: write another way into publish";
        return Err(ConfigError::at(origin, remedy));
    }
    if is_callback && is_session {
        return Err(ConfigError::at(
            origin,
            "callback and session: a row asks in one of these ways; callback sends cookies too",
        ));
    }
    match asks {
        Some(RowAsks { way: "session", .. }) if !is_session => Err(ConfigError::at(
            origin,
            "channels.session says where a row asks that does not: add \"session\" to its access, or leave it out",
        )),
        Some(RowAsks { way: "callback", .. }) if !is_callback => Err(ConfigError::at(
            origin,
            "channels.callback says where a row asks that does not: add \"callback\" to its access, or leave it out",
        )),
        _ => Ok(()),
    }
}

/// All endpoints, each once.
#[derive(Debug)]
pub(super) struct Endpoints {
    url: Option<AppUrl>,
    headers: Vec<String>,
    secret: Option<Secret>,
    /// Where options of `callback` were given, to say that nothing asks.
    given: Option<String>,
    endpoints: Vec<Endpoint>,
}

impl Endpoints {
    pub(super) fn new(settings: &Settings, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let headers = match settings.find(Key::CallbackHeaders).map(|setting| &setting.value) {
            Some(Value::Fields(names)) => names.clone(),
            _ => Vec::new(),
        };
        let keys = [Key::CallbackUrl, Key::CallbackHeaders, Key::CallbackSecret, Key::CallbackSecretFile];
        let given = keys.into_iter().find(|key| settings.given(*key).is_some()).map(|key| key.row().name());
        Ok(Self {
            url: settings.app_url(),
            headers,
            secret: secret(settings, warnings)?,
            given,
            endpoints: Vec::new(),
        })
    }

    /// Lets the ways of a row's rule know where they ask.
    pub(super) fn place(&mut self, row: &FileRule, rule: &mut Rule) -> Result<(), ConfigError> {
        for way in rule.access.ways_mut().iter_mut().chain(rule.publish.ways_mut()) {
            match way {
                Way::Callback(endpoint) => *endpoint = self.endpoint(row, "callback")?,
                Way::Session(endpoint) => *endpoint = self.endpoint(row, "session")?,
                Way::Public | Way::Jwt | Way::SignedUrl => {}
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, warnings: &mut Vec<String>) -> Vec<Endpoint> {
        if let Some(given) = self.given.filter(|_| self.endpoints.is_empty()) {
            warnings.push(format!(
                "{given} is given, and no rule asks the application: add access = \"callback\" or \"session\" to a \
                 [[channels]] row"
            ));
        }
        self.endpoints
    }

    fn endpoint(&mut self, row: &FileRule, way: &str) -> Result<EndpointIndex, ConfigError> {
        let asks = row.asks.as_ref();
        let Some(url) = asks.and_then(|asks| asks.url.as_ref()).or(self.url.as_ref()) else {
            return Err(ConfigError::at(
                &row.origin,
                format!(
                    "the way {way} asks the application: say where, with callback.url = \"http://127.0.0.1:8000/courier\" \
                     or in the row with {way} = {{ url = \"..\" }}"
                ),
            ));
        };
        let headers = asks.and_then(|asks| asks.headers.as_ref()).unwrap_or(&self.headers);
        let is_session = way == "session";
        let endpoint = Endpoint {
            address: url.address.clone(),
            target: url.target.clone(),
            host: url.host(),
            fields: if is_session { Vec::new() } else { headers.clone() },
            sends_peer: !is_session,
            secret: self.secret.clone(),
        };
        let index = self.endpoints.iter().position(|one| *one == endpoint).unwrap_or_else(|| {
            self.endpoints.push(endpoint);
            self.endpoints.len() - 1
        });
        if index >= CALLBACK_ENDPOINTS {
            let remedy =
                format!("the rules ask at more than {CALLBACK_ENDPOINTS} places; let rows share them");
            return Err(ConfigError::at(&row.origin, remedy));
        }
        Ok(EndpointIndex(u16::try_from(index).expect("a bound in limits keeps it small")))
    }
}

fn secret(settings: &Settings, warnings: &mut Vec<String>) -> Result<Option<Secret>, ConfigError> {
    let file = password(settings, Key::CallbackSecretFile)?;
    let Some(setting) = settings.given(Key::CallbackSecret) else { return Ok(file) };
    let Value::Secret(secret) = &setting.value else { unreachable!("the table says it is a secret") };
    if file.is_some() {
        return Err(ConfigError::at(
            &setting.origin,
            "callback.secret and callback.secret_file are both given; give one of them",
        ));
    }
    if let Origin::Flag(flag) = &setting.origin {
        warnings.push(format!(
            "{flag}: everyone on this machine can read the secret in the list of processes; put it into a file \
             (callback.secret_file) or into COURIER_CALLBACK_SECRET"
        ));
    }
    Ok(Some(secret.clone()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::file::parse;

    fn error(text: &str) -> String {
        parse(Path::new("courier.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_row_that_asks_is_read_as_it_is_written() {
        for member in [
            "callback = { url = \"unix:/run/app.sock:/ask\", headers = [\"authorization\", \"x-team\"] }\n",
            "callback = { headers = [] }\n",
        ] {
            let text = format!("[[channels]]\nmatch = \"a\"\naccess = \"callback\"\n{member}");
            let row = parse(Path::new("courier.toml"), &text).unwrap().rules.remove(0);
            assert_eq!(row.asks.unwrap().written(), member);
        }
    }

    #[test]
    fn a_row_whose_ways_and_members_do_not_fit_is_told_with_its_remedy() {
        let row = "[[channels]]\nmatch = \"a\"\n";
        for (members, line) in [
            (
                "access = [\"callback\", \"session\"]\n",
                "courier.toml:1: callback and session: a row asks in one of these ways; callback sends cookies too",
            ),
            (
                "access = \"public\"\ncallback = { url = \"http://a/b\" }\n",
                "courier.toml:1: channels.callback says where a row asks that does not: add \"callback\" to its access, or \
                 leave it out",
            ),
            (
                "access = \"callback\"\nsession = { url = \"http://a/b\" }\n",
                "courier.toml:1: channels.session says where a row asks that does not: add \"session\" to its access, or \
                 leave it out",
            ),
            (
                "access = \"callback\"\ncallback = \"http://a/b\"\n",
                "courier.toml:4: channels.callback = http://a/b: a table, as in { url = \
                 \"http://127.0.0.1:8000/courier\" }",
            ),
            (
                "access = \"callback\"\ncallback = { ur = \"http://a/b\" }\n",
                "courier.toml:4: channels.callback.ur: no such key; did you mean channels.callback.url?",
            ),
            (
                "access = \"session\"\nsession = { headers = [\"x\"] }\n",
                "courier.toml:4: channels.session.headers: no such key; did you mean channels.session.url?",
            ),
            (
                "access = \"callback\"\ncallback = { headers = [\"Cookie\"] }\n",
                "courier.toml:4: channels.callback.headers = [\"Cookie\"]: Cookie is always sent; leave it out",
            ),
            (
                "access = \"callback\"\ncallback = { headers = [\"host\"] }\n",
                "courier.toml:4: channels.callback.headers = [\"host\"]: courier writes this field itself, since it is \
                 about its own exchange with the application",
            ),
        ] {
            assert_eq!(error(&format!("{row}{members}")), line);
        }
    }
}
