//! The reference of settings: what the typed sections say of their keys. docs/SETTINGS.md is made from it.
//!
//! A section is written inside of [`settings!`](crate::settings), which keeps the struct as it stands and remembers each field's doc
//! comment and type; a default is what the type's `Default` serializes to. Whoever reads sections has their reference.

use std::{collections::BTreeMap, fmt::Write as _, marker::PhantomData};

use serde_json::Value;

use super::{SECTIONS, STORES, Settings};

/// What a database's keys are, which no section has: `Settings::database_url` and the commands that migrate take them one by one.
const OF_STORES: [(&str, &str, &str); 4] = [
    (
        "database_url",
        "text",
        "Where the service's database is, as its runtime role: `postgres://role:password@host:port/database`; none: `DATABASE_URL`, \
         else a file of the data directory.",
    ),
    ("database_url_file", "file", "A file that holds it, since it holds a password."),
    ("migrate_url", "text", "The same database as its owner, for `migrate`, `backup` and `restore`; no service reads it."),
    ("migrate_url_file", "file", "A file that holds it."),
];

/// A key as a type declares it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name within its section or table.
    pub name: String,
    /// The type in Rust.
    pub of: &'static str,
    /// The doc comment, a line an item.
    pub says: Vec<&'static str>,
    /// What is below it, where it is a table.
    pub below: Vec<Self>,
}

/// A type that knows what its keys are for; made by [`settings!`](crate::settings).
pub trait Documented {
    /// Its keys, in the order of the type.
    fn keys() -> Vec<Key>;
}

impl<T: Documented> Documented for BTreeMap<String, T> {
    fn keys() -> Vec<Key> {
        let named = |key: Key| Key { name: format!("<name>.{}", key.name), ..key };
        T::keys().into_iter().map(named).collect()
    }
}

/// Finds out whether a field's type has keys of its own.
#[derive(Debug)]
pub struct Of<T>(pub PhantomData<T>);

/// It has.
pub trait Nested {
    /// They.
    fn below(&self) -> Vec<Key>;
}

impl<T: Documented> Nested for Of<T> {
    fn below(&self) -> Vec<Key> {
        T::keys()
    }
}

/// It has none; found after [`Nested`], one reference further out.
pub trait Leaf {
    /// None.
    fn below(&self) -> Vec<Key>;
}

impl<T> Leaf for &Of<T> {
    fn below(&self) -> Vec<Key> {
        Vec::new()
    }
}

/// Writes a section of settings, or a table within one: the struct as it stands, and what it says of its fields.
#[macro_export]
macro_rules! settings {
    (
        $(#[$($outer:tt)*])*
        $vis:vis struct $name:ident {
            $( $(#[$($attribute:tt)*])* $fvis:vis $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$($outer)*])*
        $vis struct $name {
            $( $(#[$($attribute)*])* $fvis $field: $type, )*
        }

        impl $crate::config::Documented for $name {
            fn keys() -> Vec<$crate::config::Key> {
                #[allow(unused_imports)] // a section has keys of one kind only, mostly
                use $crate::config::{Leaf as _, Nested as _};
                vec![$( $crate::config::Key {
                    name: stringify!($field).to_owned(),
                    of: stringify!($type),
                    says: [$( $crate::settings!(@says $($attribute)*) ),*].concat(),
                    below: (&$crate::config::Of::<$type>(::std::marker::PhantomData)).below(),
                } ),*]
            }
        }
    };
    (@says doc = $says:literal) => { vec![$says] };
    (@says $($other:tt)*) => { Vec::<&'static str>::new() };
}

/// A section that was read.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) keys: fn() -> Vec<Key>,
    pub(super) defaults: Value,
}

/// One setting, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `session.lifetime`.
    pub key: String,
    /// `CARELINK_SESSION__LIFETIME`; none where the environment cannot say it.
    pub environment: Option<String>,
    /// What it holds.
    pub kind: String,
    /// As it would be written; none where there is none.
    pub default: Option<String>,
    /// What it is for.
    pub says: String,
}

impl Settings {
    /// Every setting of the sections that have been read, section by section as [`SECTIONS`] orders them.
    pub fn reference(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        for section in SECTIONS {
            let mut described = Vec::new();
            for read in self.sections.iter().filter(|read| read.name == *section) {
                (read.keys)().iter().for_each(|key| describe(section, key, Some(&read.defaults), &mut described));
            }
            if STORES.contains(section) {
                described.extend(OF_STORES.map(|(name, kind, says)| {
                    let key = format!("{section}.{name}");
                    let environment = Some(environment(&key));
                    Setting { key, environment, kind: kind.to_owned(), default: None, says: says.to_owned() }
                }));
            }
            for setting in described {
                if !all.contains(&setting) {
                    all.push(setting); // a section that several processes read is there once
                }
            }
        }
        all
    }

    /// The page docs/SETTINGS.md.
    pub fn markdown(&self) -> String {
        let mut page = String::from(
            "# Settings\n\nEvery setting there is, as the types that read them say it. Defaults < `carelink.toml` < environment; a key that is \
             not here is an\nerror that names the nearest one. Durations are text with a unit (`12h`, `15m`, `400ms`); lists are lists, or text \
             with commas between.\nA `.._file` holds a secret, without the newline that ends it. Three more variables are read as the predecessor's \
             operators know them:\n`DATABASE_URL` for every service that has no `database_url`, `REDIS_URL` for `limits.redis_url`, \
             `ALLOWED_HOSTS` for\n`gateway.allowed_hosts`. [OPERATIONS.md](OPERATIONS.md) says which process needs which.\n",
        );
        let mut section = String::new();
        for Setting { key, environment, kind, default, says } in self.reference() {
            let of = key.split('.').next().unwrap_or_default();
            // Writing into a String cannot fail.
            if section != of {
                of.clone_into(&mut section);
                let _ = writeln!(page, "\n## {of}\n\n| setting | is | default | in the environment | what for |\n|---|---|---|---|---|");
            }
            let code = |text: Option<String>| text.map_or_else(String::new, |text| format!("`{text}`"));
            let _ = writeln!(page, "| `{key}` | {kind} | {} | {} | {says} |", code(default), code(environment));
        }
        page
    }
}

fn describe(path: &str, key: &Key, defaults: Option<&Value>, into: &mut Vec<Setting>) {
    let path = format!("{path}.{}", key.name);
    let default = defaults.and_then(|table| table.get(&key.name));
    if !key.below.is_empty() {
        key.below.iter().for_each(|below| describe(&path, below, default, into));
        return;
    }
    let says: Vec<&str> = key.says.iter().map(|line| line.trim()).collect();
    into.push(Setting {
        environment: (!path.contains('<')).then(|| environment(&path)),
        kind: kind(&key.of.replace(' ', ""), default),
        default: default.and_then(written),
        says: says.join(" "),
        key: path,
    });
}

fn environment(key: &str) -> String {
    format!("CARELINK_{}", key.replace('.', "__").to_uppercase())
}

/// What a type is to whoever writes a value of it.
fn kind(of: &str, default: Option<&Value>) -> String {
    let inner = |outer: &str| of.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner("Option<") {
        return kind(inner, default);
    }
    if let Some(inner) = inner("Vec<") {
        return format!("list of {}", kind(inner, None));
    }
    let kind = match of {
        "Duration" => "duration",
        "bool" => "`true` or `false`",
        "PathBuf" => "file",
        "SocketAddr" => "address:port",
        "IpAddr" => "address",
        "Cidr" => "address or block",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "f64" => "number",
        _ if default.is_some_and(Value::is_number) => "number",
        _ => "text",
    };
    kind.to_owned()
}

/// A default as it would be written; none where there is none.
fn written(default: &Value) -> Option<String> {
    match default {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Bool(_) | Value::Number(_) => Some(default.to_string()),
        Value::Array(items) if !items.is_empty() => Some(items.iter().filter_map(written).collect::<Vec<_>>().join(", ")),
        _ => None,
    }
}
