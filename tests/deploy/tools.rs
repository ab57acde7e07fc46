//! The tools that `scripts/tools-deploy` installs, and the files of the repository.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A path in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the repository.
pub fn text(path: &str) -> String {
    let path = repository(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a tool with this on stdin; both outputs, after it succeeded.
pub fn run(program: impl AsRef<Path>, words: &[&str], stdin: &str) -> (String, String) {
    let program = program.as_ref();
    let mut child = Command::new(program)
        .args(words)
        .current_dir(repository(""))
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; make test-packages test-tools installs it", program.display()));
    // A tool that answers without reading closes the pipe; what it said is what counts.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{} {words:?}: {}\n{said}{complaints}", program.display(), output.status);
    (said, complaints)
}

/// Runs one of the installed tools.
pub fn tool(name: &str, words: &[&str], stdin: &str) -> String {
    run(repository("build/tools/deploy/bin").join(name), words, stdin).0
}

/// The documents of a YAML text.
pub fn yaml(text: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)";
    serde_json::from_str(&tool("python", &["-c", script], text)).unwrap()
}

/// What a kustomization makes.
pub fn kustomize(name: &str) -> Vec<Value> {
    yaml(&tool("kubectl", &["kustomize", &format!("deploy/kubernetes/kustomize/{name}")], ""))
}

/// What the chart makes as release `csictl` in namespace `csictl`.
pub fn helm(settings: &[&str]) -> Vec<Value> {
    let mut words = vec!["template", "csictl", "deploy/kubernetes/helm/csictl", "--namespace=csictl"];
    words.extend(["--kube-version=1.36.0"]);
    words.extend(settings.iter().flat_map(|setting| ["--set-json", setting]));
    yaml(&tool("helm", &words, ""))
}

/// The strings of an array.
pub fn strings(value: &Value) -> Vec<String> {
    let array = value.as_array().unwrap_or_else(|| panic!("{value} is no list"));
    array.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("{item} is no text")).to_owned()).collect()
}

/// The object of this kind and name.
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The containers of the DaemonSet.
pub fn containers(objects: &[Value]) -> Vec<Value> {
    let set = object(objects, "DaemonSet", "csictl-node");
    set["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone()
}

/// The container of this name.
pub fn container(objects: &[Value], name: &str) -> Value {
    let found = containers(objects).into_iter().find(|container| container["name"] == name);
    found.unwrap_or_else(|| panic!("no container {name}"))
}

/// A Nomad file: the text between blocks' quotes is kept as HCL has it, templates included.
pub fn hcl(path: &str) -> Value {
    let script = "import hcl2, json, sys; json.dump(hcl2.load(sys.stdin), sys.stdout)";
    unquote(serde_json::from_str(&tool("python", &["-c", script], &text(path))).unwrap())
}

// The reader leaves HCL's quotes around texts and labels.
fn unquote(value: Value) -> Value {
    let bare = |text: &str| match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) => inside.to_owned(),
        None => text.to_owned(),
    };
    match value {
        Value::String(text) => Value::String(bare(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(unquote).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (bare(&key), unquote(value))).collect()),
        other => other,
    }
}
