//! From the options of tokens and signed URLs, those for all and each row's own, to what the rules need: keys that were
//! read, and verifiers that rows share.

use std::sync::Arc;

use crate::access::jwt::{Algorithm, Jwt, Template, Verifier};
use crate::access::keys::{KeyForm, KeyIndex, KeyRing};
use crate::access::signed_url::SignedUrl;
use crate::access::{Rule, Way};
use crate::config::error::{ConfigError, Origin};
use crate::config::file::FileRule;
use crate::config::row_options::RowOptions;
use crate::config::settings::{Setting, Settings};
use crate::config::table::{Key, Kind};
use crate::config::value::Value;
use crate::driver::keys::KeyFile;

/// The keys of all sources, and the files among these.
#[derive(Debug, Default)]
pub struct Keys {
    pub ring: KeyRing,
    pub files: Vec<KeyFile>,
}

/// The rules of the file's rows, complete.
pub fn rules(settings: &Settings, warnings: &mut Vec<String>) -> Result<(Vec<Rule>, Keys), ConfigError> {
    let mut shelf =
        Shelf { settings, keys: Keys::default(), sources: Vec::new(), verifiers: Vec::new(), warnings };
    let rules = settings.rules.iter().map(|row| shelf.rule(row)).collect::<Result<_, _>>()?;
    Ok((rules, shelf.keys))
}

/// The keys of URLs where no row says anything.
pub fn url_key(settings: &Settings) -> Result<(KeyIndex, Keys), ConfigError> {
    let mut warnings = Vec::new();
    let mut shelf = Shelf {
        settings,
        keys: Keys::default(),
        sources: Vec::new(),
        verifiers: Vec::new(),
        warnings: &mut warnings,
    };
    let remedy = "signed_url.key_file is missing: say where the secret for URLs lies; courier sign --signed-url-key-file \
                  FILE, COURIER_SIGNED_URL_KEY, or --config with a file that names it";
    let key = shelf.source(&RowOptions::default(), URL_SOURCES, KeyForm::Url, || ConfigError::new(remedy))?;
    Ok((key, shelf.keys))
}

/// What is being put together. Sources and verifiers that are the same are one.
struct Shelf<'a> {
    settings: &'a Settings,
    keys: Keys,
    sources: Vec<(Value, KeyForm, KeyIndex)>,
    verifiers: Vec<Arc<Verifier>>,
    warnings: &'a mut Vec<String>,
}

impl Shelf<'_> {
    fn rule(&mut self, row: &FileRule) -> Result<Rule, ConfigError> {
        let jwt = row.rule.has(Way::Jwt).then(|| self.jwt(row)).transpose()?;
        let signed_url = row.rule.has(Way::SignedUrl).then(|| self.signed_url(row)).transpose()?;
        Ok(Rule { jwt, signed_url, ..row.rule.clone() })
    }

    fn jwt(&mut self, row: &FileRule) -> Result<Arc<Jwt>, ConfigError> {
        let find = |key| row.options.find(self.settings, key).map(|setting| &setting.value);
        let text = |key| match find(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let is = |key: Key, word| match (key.row().kind, find(key)) {
            (Kind::Choice(words), Some(Value::Choice(index))) => words[*index] == word,
            _ => false,
        };
        let algorithm = match find(Key::JwtAlgorithm) {
            Some(Value::Choice(index)) => Algorithm::ALL[*index],
            other => unreachable!("the table says that it is one of these: {other:?}"),
        };
        let template: Option<Template> = match find(Key::JwtTemplate) {
            Some(Value::Template(template)) => Some(template.clone()),
            _ => None,
        };
        let mut verifier = Verifier {
            algorithm,
            keys: KeyIndex::default(),
            audience: text(Key::JwtAudience),
            issuer: text(Key::JwtIssuer),
            cookie: text(Key::JwtCookie).unwrap_or_default(),
            query: is(Key::JwtQuery, "on"),
            endless: is(Key::JwtExpiry, "optional"),
        };
        let is_set = match TOKEN_SOURCES.iter().find(|key| row.options.own(**key).is_some()) {
            Some(own) => *own == Key::JwtJwksFile,
            None => self.settings.given(Key::JwtJwksFile).is_some(),
        };
        let form = if is_set { KeyForm::TokenSet(algorithm) } else { KeyForm::Token(algorithm) };
        verifier.keys = self.source(&row.options, TOKEN_SOURCES, form, || {
            missing(row, "jwt", "jwt.key_file or jwt.jwks_file")
        })?;
        let verifier = match self.verifiers.iter().find(|one| ***one == verifier) {
            Some(same) => Arc::clone(same),
            None => {
                self.verifiers.push(Arc::new(verifier));
                Arc::clone(self.verifiers.last().expect("it was just pushed"))
            }
        };
        Ok(Arc::new(Jwt { verifier, template }))
    }

    fn signed_url(&mut self, row: &FileRule) -> Result<SignedUrl, ConfigError> {
        let remedy = || missing(row, "signed-url", "signed_url.key_file");
        let key = self.source(&row.options, URL_SOURCES, KeyForm::Url, remedy)?;
        Ok(SignedUrl { key })
    }

    /// The place of the keys that the row, or else the options for all, names: one of these options, exactly once.
    fn source(
        &mut self,
        options: &RowOptions,
        keys: &[Key],
        form: KeyForm,
        missing: impl FnOnce() -> ConfigError,
    ) -> Result<KeyIndex, ConfigError> {
        let settings = self.settings;
        let own: Vec<_> = keys.iter().filter_map(|key| Some((*key, options.own(*key)?))).collect();
        let for_all = || keys.iter().filter_map(|key| Some((*key, settings.given(*key)?))).collect();
        let given: Vec<(Key, &Setting)> = if own.is_empty() { for_all() } else { own };
        let (key, setting) = match given[..] {
            [] => return Err(missing()),
            [one] => one,
            [(first, _), (second, setting), ..] => {
                let (first, second) = (first.row().name(), second.row().name());
                let remedy = format!("{first} and {second} are both given; give one of them");
                return Err(ConfigError::at(&setting.origin, remedy));
            }
        };
        if let Some((.., index)) =
            self.sources.iter().find(|(one, of, _)| *one == setting.value && *of == form)
        {
            return Ok(*index);
        }
        let index = self.read(key, setting, form)?;
        self.sources.push((setting.value.clone(), form, index));
        Ok(index)
    }

    fn read(&mut self, key: Key, setting: &Setting, form: KeyForm) -> Result<KeyIndex, ConfigError> {
        let origin = &setting.origin;
        let wrong =
            |remedy: &str| ConfigError::value(origin, &key.row().name(), &setting.texts.join(" "), remedy);
        match &setting.value {
            Value::Secret(secret) => {
                if let Origin::Flag(flag) = origin {
                    self.warnings.push(format!(
                        "{flag}: everyone on this machine can read the secret in the list of processes; put it into a \
                         file ({}_file)",
                        key.row().name()
                    ));
                }
                let text = secret.reveal().as_bytes();
                let keys = form.read(text).map_err(|bad| wrong(bad.remedy()))?;
                self.warn_of_weakness(origin, key, form, text);
                Ok(self.keys.ring.push(keys))
            }
            Value::File(path) => {
                let (file, text) = KeyFile::open(path, form).map_err(|remedy| wrong(&remedy))?;
                let keys = form.read(&text).map_err(|bad| wrong(bad.remedy()))?;
                self.warn_of_weakness(origin, key, form, &text);
                let index = self.keys.ring.push(keys);
                self.keys.files.push(file.placed(index));
                Ok(index)
            }
            other => unreachable!("the table says that it is a secret or a file: {other:?}"),
        }
    }

    fn warn_of_weakness(&mut self, origin: &Origin, key: Key, form: KeyForm, text: &[u8]) {
        if let Some(bytes) = form.wanted_bytes(text) {
            self.warnings.push(format!(
                "{origin}: {}: the secret has fewer than {bytes} bytes and may be guessed; make one with openssl rand \
                 -hex 32",
                key.row().name()
            ));
        }
    }
}

fn missing(row: &FileRule, way: &str, option: &str) -> ConfigError {
    let table = way.replace('-', "_");
    let remedy = format!(
        "\"{way}\" needs a key: give {option}, or the row its own with {table} = {{ key_file = \"FILE\" }}"
    );
    ConfigError::at(&row.origin, remedy)
}

const TOKEN_SOURCES: &[Key] = &[Key::JwtKey, Key::JwtKeyFile, Key::JwtJwksFile];
const URL_SOURCES: &[Key] = &[Key::SignedUrlKey, Key::SignedUrlKeyFile];
