//! A request from flags: JSON with the specification's names, filled field by field over what `--request` gave.

use serde_json::{Map, Value, json};

use super::capability;
use super::flag::{Flag, Kind};
use crate::model::Capacity;

/// Fills a flag's field with what was typed for it.
///
/// # Errors
/// What is wrong with a value, in words.
pub fn fill(request: &mut Value, flag: &Flag, typed: &[String]) -> Result<(), String> {
    let value = value(flag.kind, typed)?;
    let (parents, last) = flag.field.rsplit_once('.').unwrap_or(("", flag.field));
    let mut place = request;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        place = object(place)?.entry(parent).or_insert_with(|| json!({}));
    }
    object(place)?.insert(last.to_owned(), value);
    Ok(())
}

fn object(value: &mut Value) -> Result<&mut Map<String, Value>, String> {
    value.as_object_mut().ok_or_else(|| "the request is no JSON object".to_owned())
}

fn value(kind: Kind, typed: &[String]) -> Result<Value, String> {
    let last = typed.last().map_or("", String::as_str);
    match kind {
        Kind::Text => Ok(last.into()),
        Kind::Texts => Ok(typed.into()),
        Kind::Number => last.parse::<i64>().map(Value::from).map_err(|_| format!("'{last}' is no whole number")),
        Kind::Size => size(last),
        Kind::Switch => Ok(true.into()),
        Kind::Map => pairs(typed.iter().map(String::as_str)),
        Kind::Secrets => secrets(last),
        Kind::Capability => capability::parse(last),
        Kind::Capabilities => typed.iter().map(|text| capability::parse(text)).collect(),
        Kind::Topology => topology(last),
        Kind::Topologies => typed.iter().map(|text| topology(text)).collect(),
    }
}

/// Bytes, also those a server has to refuse: zero and negative ones.
fn size(text: &str) -> Result<Value, String> {
    match text.parse::<i64>() {
        Ok(bytes) => Ok(bytes.into()),
        Err(_) => text.parse::<Capacity>().map(|size| size.get().into()).map_err(|error| error.to_string()),
    }
}

fn topology(text: &str) -> Result<Value, String> {
    Ok(json!({ "segments": pairs([text].into_iter())? }))
}

/// A comma separates pairs only where another `KEY=` follows it, so that a value may have commas.
fn pairs<'a>(typed: impl Iterator<Item = &'a str>) -> Result<Value, String> {
    let mut map = Map::new();
    for text in typed {
        let mut parts: Vec<String> = Vec::new();
        for part in text.split(',') {
            match parts.last_mut() {
                Some(last) if !part.contains('=') => {
                    last.push(',');
                    last.push_str(part);
                }
                _ => parts.push(part.to_owned()),
            }
        }
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is no KEY=VALUE"))?;
            map.insert(key.to_owned(), value.into());
        }
    }
    Ok(map.into())
}

/// The contents of a secrets file: a JSON object of texts, or KEY=VALUE lines with comments. What it says is never in an error.
fn secrets(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        let map: std::collections::BTreeMap<String, String> =
            serde_json::from_str(text).map_err(|_| "it is no JSON object whose values are texts".to_owned())?;
        return Ok(json!(map));
    }
    let mut map = Map::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {} is no KEY=VALUE", number + 1))?;
        map.insert(key.trim().to_owned(), value.into());
    }
    Ok(map.into())
}

#[cfg(test)]
mod tests {
    use super::super::rpc::Rpc;
    use super::*;

    fn request(command: &str, typed: &[(&str, &[&str])]) -> Result<Value, String> {
        let rpc = Rpc::find(command).unwrap();
        let mut request = json!({});
        for (name, values) in typed {
            let flag = rpc.flags.iter().find(|flag| flag.name == *name).unwrap();
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            fill(&mut request, flag, &values)?;
        }
        Ok(request)
    }

    #[test]
    fn flags_fill_their_fields_wherever_they_are() {
        let made = request(
            "create-volume",
            &[
                ("name", &["x"]),
                ("required-bytes", &["1GiB"]),
                ("limit-bytes", &["-1"]),
                ("params", &["a=b,c=d,e", "f=g"]),
                ("from-volume", &["vol-1"]),
                ("requisite", &["zone=a", "zone=b,rack=1"]),
            ],
        );
        assert_eq!(
            made.unwrap(),
            json!({
                "name": "x",
                "capacity_range": {"required_bytes": 1 << 30, "limit_bytes": -1},
                "parameters": {"a": "b", "c": "d,e", "f": "g"},
                "volume_content_source": {"volume": {"volume_id": "vol-1"}},
                "accessibility_requirements": {"requisite": [{"segments": {"zone": "a"}}, {"segments": {"zone": "b", "rack": "1"}}]},
            })
        );
    }

    #[test]
    fn secrets_are_lines_or_json_and_never_in_an_error() {
        for text in ["# for tests\nuser=me\npass=a=b \n", r#"{"user": "me", "pass": "a=b "}"#] {
            let made = request("delete-volume", &[("secrets", &[text])]).unwrap();
            assert_eq!(made["secrets"], json!({"user": "me", "pass": "a=b "}));
        }
        for bad in ["hunter2", r#"{"pass": {"hunter2": 1}}"#, r#"{"pass": hunter2}"#] {
            let error = request("delete-volume", &[("secrets", &[bad])]).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (name, value) in [("required-bytes", "1G"), ("params", "novalue"), ("cap", "x")] {
            assert!(request("create-volume", &[(name, &[value])]).is_err(), "{name}");
        }
        assert!(request("list-volumes", &[("max-entries", &["many"])]).is_err());
    }
}
