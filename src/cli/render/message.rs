//! Answers of a CSI server for people: one line a field, deeper parts indented, sizes with their unit behind. Only what is set is shown.

use serde_json::Value;

use crate::model::Capacity;

/// What stands where an answer says nothing: success.
const EMPTY: &str = "OK";

/// The text of some messages, which have the names of the specification.
pub fn text(messages: &[Value]) -> String {
    let mut lines = Vec::new();
    for message in messages {
        fields(message, 0, &mut lines);
    }
    if lines.is_empty() { EMPTY.to_owned() } else { lines.join("\n") }
}

fn fields(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    let short: Vec<(String, &Value)> = object.iter().map(|(key, value)| collapsed(key, value)).collect();
    let leaf = |value: &Value| !value.is_array() && !value.is_object();
    let width = short.iter().filter(|(_, value)| leaf(value)).map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    let indent = "  ".repeat(depth);
    for (key, value) in &short {
        match value {
            Value::Array(items) => {
                lines.push(format!("{indent}{key}"));
                items.iter().for_each(|one| item(one, depth + 1, lines));
            }
            Value::Object(_) => {
                lines.push(format!("{indent}{key}"));
                fields(value, depth + 1, lines);
            }
            leaf => lines.push(format!("{indent}{key:width$}  {}", shown(key, leaf)).trim_end().to_owned()),
        }
    }
}

/// A part with nothing but one part in it is one line: `service.type`.
fn collapsed<'a>(key: &str, value: &'a Value) -> (String, &'a Value) {
    match value.as_object().map(|object| (object.len(), object.iter().next())) {
        Some((1, Some((inner, value)))) => {
            let (inner, value) = collapsed(inner, value);
            (format!("{key}.{inner}"), value)
        }
        _ => (key.to_owned(), value),
    }
}

/// An entry of a list: its first line has a dash.
fn item(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let from = lines.len();
    if value.is_object() {
        fields(value, depth + 1, lines);
    }
    let dash = format!("{}- ", "  ".repeat(depth));
    match lines.get_mut(from) {
        Some(first) => *first = format!("{dash}{}", first.trim_start()),
        None => lines.push(format!("{dash}{}", shown("", value)).trim_end().to_owned()),
    }
}

fn shown(key: &str, value: &Value) -> String {
    let size = key.ends_with("bytes") || key.ends_with("capacity") || key.ends_with("volume_size");
    match value {
        Value::String(text) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Value::Number(number) => match number.as_u64().filter(|bytes| size && *bytes >= 1024) {
            Some(bytes) => format!("{bytes} ({})", Capacity::bytes(bytes)),
            None => number.to_string(),
        },
        Value::Object(object) if object.is_empty() => "{}".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_reads_like_a_form() {
        let answer = json!({"volume": {
            "capacity_bytes": 1_073_741_824_u64,
            "volume_id": "vol-1",
            "accessible_topology": [{"segments": {"zone": "a", "rack": "1"}}, {"segments": {"zone": "b"}}],
        }});
        let lines = [
            "volume",
            "  accessible_topology",
            "    - segments",
            "        rack  1",
            "        zone  a",
            "    - segments.zone  b",
            "  capacity_bytes  1073741824 (1 GiB)",
            "  volume_id       vol-1",
        ];
        let shown = text(&[answer]);
        let mut expected: Vec<&str> = lines.to_vec();
        let mut found: Vec<&str> = shown.lines().collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{shown}");
    }

    #[test]
    fn chains_are_one_line_and_nothing_is_ok() {
        let answer = json!({"capabilities": [{"service": {"type": "CONTROLLER_SERVICE"}}, {}]});
        assert_eq!(text(&[answer]), "capabilities\n  - service.type  CONTROLLER_SERVICE\n  - {}");
        assert_eq!(text(&[json!({})]), "OK");
    }

    #[test]
    fn a_servers_text_moves_no_cursor() {
        assert_eq!(text(&[json!({"name": "a\u{1b}[2J\nb"})]), "name  a?[2J?b");
    }
}
