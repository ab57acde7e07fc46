//! What `-v`, `-vv`, CSICTL_LOG and --log-format add: on stderr only, and nothing without them.

use std::fs;

use crate::support::Place;

const MANIFEST: &str = "version = 1\nproject = \"shop\"\n[pools.main]\npath = \"pool\"\n[volumes.db]\ncapacity = \"32MiB\"\n\
     [pods.web]\nroot = \"pod\"\n[[pods.web.mounts]]\nvolume = \"db\"\npath = \"/db\"\n";

fn stderr(place: &Place, words: &[&str], log: Option<&str>) -> String {
    let mut command = place.csictl();
    command.args(words).envs(log.map(|log| ("CSICTL_LOG", log)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn verbose_runs_tell_of_steps_helpers_and_effects_and_others_do_not() {
    let place = Place::new();
    fs::write(place.join("shop.toml"), MANIFEST).unwrap();
    let apply: &[&str] = &["apply", "shop.toml", "--yes"];
    let destroy: &[&str] = &["destroy", "shop.toml", "--yes", "--delete-data", "db"];
    let both = |more: &[&str], log: Option<&str>| {
        [apply, destroy].map(|words| stderr(&place, &[words, more].concat(), log)).join("\n")
    };

    let plain = both(&[], None);
    let steps = both(&["-v"], None);
    let effects = both(&["-vv"], None);
    let chosen = both(&[], Some("csictl::host=debug"));
    let json = stderr(&place, &["plan", "shop.toml", "-v", "--log-format", "json"], None);

    let has = |text: &str| ["looked at the machine", "step ended", "mke2fs", "effect="].map(|word| text.contains(word));
    assert_eq!(has(&plain), [false, false, false, false], "{plain}");
    assert!(steps.contains("looked at the machine") && steps.contains("step ended"), "{steps}");
    assert!(steps.contains("verb=stage") && steps.contains("command=mke2fs") && !steps.contains("effect="), "{steps}");
    for text in [&effects, &chosen] {
        for effect in ["attach", "mount", "bind", "unmount", "remove image", "write record"] {
            assert!(text.contains(&format!("effect=\"{effect}\"")), "{effect}: {text}");
        }
    }
    assert!(!chosen.contains("step ended"), "only what CSICTL_LOG names: {chosen}");
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["fields"]["message"], "looked at the machine", "{json}");
}
