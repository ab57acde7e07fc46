//! The JSON Schema of a manifest, for editors: made from [`super::shape`], so it accepts the keys and words the parser
//! accepts. What a schema can't say (references, paths against each other) is left to `csictl validate`.

use serde_json::{Map, Value, json};

use super::shape::{Kind, PathKind, ROOT, Rule, Table};

/// A DNS label.
const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
/// A number with a unit, from nothing up.
const SIZE_OR_ZERO_PATTERN: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*(B|[kKMGTP]B|[KMGTP]iB)?|0*[0-7](\.[0-9]+)?\s*EiB)\s*$";
/// The same, more than nothing.
const SIZE_PATTERN: &str =
    r"^(?=.*[1-9])\s*([0-9]+(\.[0-9]+)?\s*(B|[kKMGTP]B|[KMGTP]iB)?|0*[0-7](\.[0-9]+)?\s*EiB)\s*$";
/// Text without control characters.
const TEXT_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";
/// No part of a path is `.` or `..`, none of its characters a control character.
const NO_DOTS: &str = r"(?!(.*/)?\.{1,2}(/|$))(?!.*[\u0000-\u001f\u007f-\u009f])";
/// The highest number is "no change" to chown(2).
const ID_MAX: u32 = u32::MAX - 1;

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    let mut root = table(&ROOT);
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("$id".to_owned(), json!("urn:csictl:manifest:1"));
    root.insert("title".to_owned(), json!("csictl manifest"));
    Value::Object(root)
}

fn table(shape: &'static Table) -> Map<String, Value> {
    let properties: Map<String, Value> = shape
        .keys
        .iter()
        .map(|key| {
            let mut value = kind(key.kind);
            value.insert("description".to_owned(), json!(key.about));
            (key.name.to_owned(), Value::Object(value))
        })
        .collect();
    let required: Vec<&str> = shape.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut object = object(json!({
        "type": "object",
        "description": shape.about,
        "properties": properties,
        "additionalProperties": false,
    }));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    if !shape.rules.is_empty() {
        object.insert("allOf".to_owned(), shape.rules.iter().map(rule).collect());
    }
    object
}

fn rule(rule: &Rule) -> Value {
    let required = |key: &&str| json!({ "required": [key] });
    match rule {
        Rule::AtMostOne(keys) => {
            let pairs =
                keys.iter().enumerate().flat_map(|(at, one)| keys[at + 1..].iter().map(move |other| [one, other]));
            json!({ "not": { "anyOf": pairs.map(|pair| json!({ "required": pair })).collect::<Vec<_>>() } })
        }
        Rule::AtLeastOne(keys) => json!({ "anyOf": keys.iter().map(required).collect::<Vec<_>>() }),
        Rule::NotWith { keys, word: None, others } => json!({
            "not": { "allOf": [
                { "anyOf": keys.iter().map(required).collect::<Vec<_>>() },
                { "anyOf": others.iter().map(required).collect::<Vec<_>>() },
            ] }
        }),
        Rule::NotWith { keys, word: Some(word), others } => {
            let says = |key: &&str| json!({ "properties": { *key: { "const": word } }, "required": [key] });
            json!({
                "not": { "allOf": [
                    { "anyOf": keys.iter().map(says).collect::<Vec<_>>() },
                    { "anyOf": others.iter().map(required).collect::<Vec<_>>() },
                ] }
            })
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn kind(kind: Kind) -> Map<String, Value> {
    object(match kind {
        Kind::Text => json!({ "type": "string", "pattern": TEXT_PATTERN }),
        Kind::Name(_) => json!({ "type": "string", "pattern": NAME_PATTERN }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer(values) => json!({ "enum": values }),
        Kind::GroupId => json!({ "type": "integer", "minimum": 0, "maximum": ID_MAX }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Size => json!({ "type": "string", "pattern": SIZE_PATTERN }),
        Kind::SizeOrZero => json!({ "type": "string", "pattern": SIZE_OR_ZERO_PATTERN }),
        Kind::Path(PathKind::Host) => json!({ "type": "string", "pattern": "^[^~]" }),
        Kind::Path(PathKind::Absolute) => json!({ "type": "string", "pattern": format!("^{NO_DOTS}/+[^/]") }),
        Kind::Path(PathKind::Inside) => json!({ "type": "string", "pattern": format!("^{NO_DOTS}[^/~]") }),
        Kind::Path(PathKind::Device) => json!({ "type": "string", "pattern": "^/dev/([^/]+/){1,2}[^/]+$" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string", "pattern": TEXT_PATTERN } }),
        Kind::Owner => json!({ "type": "string", "pattern": "^[0-9]+:[0-9]+$" }),
        Kind::Mode => json!({ "type": "string", "pattern": "^[0-7]{3,4}$" }),
        Kind::Table(inner) => return table(inner),
        Kind::SizeOrTable(inner) => json!({ "anyOf": [kind_value(Kind::Size), Value::Object(table(inner))] }),
        Kind::Named(inner) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": table(inner),
        }),
        Kind::Many(inner) => json!({ "type": "array", "items": table(inner) }),
    })
}

fn kind_value(of: Kind) -> Value {
    Value::Object(kind(of))
}
