//! Texts nobody means: none panics, none takes long, and rendering a report never fails.

use std::fmt::Write as _;
use std::time::Duration;

use csictl::manifest::{ManifestErrors, TEXT_MAX};
use miette::GraphicalReportHandler;
use proptest::prelude::*;

use super::read;
use super::schema::examples;

/// Renders a report as the command line does; that must not panic either.
fn render(errors: &ManifestErrors) -> String {
    let mut shown = String::new();
    GraphicalReportHandler::new().render_report(&mut shown, errors).unwrap();
    shown
}

/// Reads it, shows what is wrong with it, and checks that what is right is complete.
fn survive(text: &str) {
    match read(text) {
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty(), "{error:?}");
                assert!(
                    csictl::manifest::codes::EXPLANATIONS.iter().any(|known| known.code == error.code),
                    "{}",
                    error.code
                );
            }
            render(&errors);
        }
        Ok(desired) => {
            for publish in desired.publishes() {
                assert!(desired.volumes.contains_key(&publish.volume));
                assert!(publish.target.starts_with(&publish.trusted_root) && publish.target.is_absolute());
                assert!(publish.target.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}

/// Small, fast and the same on every machine (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

#[test]
fn mutated_examples_are_survived() {
    const ROUNDS: usize = 400;
    const SCRAPS: [&str; 16] = [
        "[",
        "]",
        "{",
        "}",
        "=",
        "\"",
        "\n",
        ".",
        "'''",
        "-1",
        "[[x]]",
        "\u{0}",
        "ä",
        "../",
        "999999999999999999999",
        "#",
    ];
    let examples = examples();
    let mut random = Random(0x5eed_cafe_f00d);
    for round in 0..ROUNDS {
        let mut text: Vec<char> = examples[round % examples.len()].1.chars().collect();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => drop(text.drain(at..(at + random.below(20)).min(text.len()))),
                1 => text.truncate(at.max(1)),
                2 => {
                    let scrap: Vec<char> = SCRAPS[random.below(SCRAPS.len())].chars().collect();
                    text.splice(at..at, scrap);
                }
                _ => {
                    let from = random.below(text.len());
                    let piece: Vec<char> = text[from..(from + 40).min(text.len())].to_vec();
                    text.splice(at..at, piece);
                }
            }
        }
        survive(&text.into_iter().collect::<String>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}|[\\[\\]{}=\".\n a-z0-9]{0,200}") {
        survive(&text);
    }

    #[test]
    fn any_bytes_that_are_text_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_value_of_any_key_is_survived(
        row in prop::sample::select(csictl::manifest::shape::reference()),
        value in prop::sample::select(vec!["1", "-1", "true", "\"\"", "\"x\"", "\"/\"", "[]", "[1]", "{}", "[{}]", "1.5", "nan", "2024-01-01", "\"10GiB\"", "\"../..\""]),
    ) {
        let key = row.key.replace("NAME", "n").replace("[]", "");
        survive(&format!("{key} = {value}"));
        survive(&format!("project = \"p\"\nvolumes.n.capacity = \"1GiB\"\n{key} = {value}"));
    }
}

/// A manifest of `count` volumes, each with a mount.
fn many(count: usize) -> String {
    let mut text = String::from("version = 1\nproject = \"big\"\n");
    for index in 0..count {
        write!(
            text,
            "[volumes.v{index}]\ncapacity = \"1GiB\"\nimage = {{ allocate = \"sparse\" }}\n[[pods.p{index}.mounts]]\nvolume = \"v{index}\"\npath = \"/mnt/p{index}/data\"\n"
        )
        .unwrap();
    }
    text
}

/// Debug builds are ten times slower than what users run.
const PATIENCE: u32 = if cfg!(debug_assertions) { 10 } else { 1 };

/// Processor time this thread has used: what a busy machine does beside does not count.
fn used() -> Duration {
    /// Clock ticks a second, the same on every Linux (USER_HZ).
    const TICKS: u32 = 100;
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The command, in brackets, may hold blanks; utime and stime are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = fields[11..13].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    Duration::from_secs(1) * ticks / TICKS
}

fn timed(what: &str, limit: Duration, text: &str) -> Result<csictl::model::Desired, ManifestErrors> {
    let begin = used();
    let result = read(text);
    if let Err(errors) = &result {
        render(errors);
    }
    let took = used() - begin;
    assert!(took < limit * PATIENCE, "{what} took {took:?}");
    result
}

#[test]
fn ten_thousand_volumes_are_quick() {
    let desired = timed("10,000 volumes", Duration::from_millis(300), &many(10_000)).unwrap();

    assert_eq!((desired.volumes.len(), desired.pods.len()), (10_000, 10_000));
}

#[test]
fn bombs_are_refused_in_time() {
    let two_seconds = Duration::from_secs(2);
    let million: String = (0..1_000_000).fold("project = \"p\"\n[volumes]\n".to_owned(), |mut text, index| {
        writeln!(text, "v{index}={{}}").unwrap();
        text
    });
    assert!(million.len() < TEXT_MAX);
    for (what, text) in [
        ("100 MB", "x = 1\n".repeat(100_000_000 / 6)),
        ("a million volumes", million),
        ("a list of millions", format!("x = [{}]", "1,".repeat(7_000_000))),
        ("a million mistakes", format!("project = \"p\"\n{}", "x = = 1\n".repeat(1_000_000))),
        ("a megabyte of mistakes", "x = = 1\n".repeat(130_000)),
        ("a megabyte of one key", "x = 1\n".repeat(170_000)),
        ("a megabyte of one header", "[volumes.v]\n".repeat(87_000)),
        ("a deep path of keys", format!("{} = 1", "a.".repeat(1_000_000) + "a")),
        ("deep lists", format!("x = {}", "[".repeat(1_000_000))),
        ("deep tables", "{a=".repeat(400_000)),
        ("one long line", format!("project = \"{}\"", "p".repeat(TEXT_MAX - 20))),
        ("unknown volumes", {
            let mounts = (0..50_000).fold(String::new(), |mut text, index| {
                writeln!(text, "[[pods.p.mounts]]\nvolume = \"w{index}\"\npath = \"/m/{index}\"").unwrap();
                text
            });
            many(20_000) + &mounts
        }),
    ] {
        assert!(timed(what, two_seconds, &text).is_err(), "{what}");
    }
}

#[test]
fn no_more_errors_are_listed_than_anybody_reads() {
    let text: String = (0..5_000).fold("project = \"p\"\n".to_owned(), |mut text, index| {
        writeln!(text, "key{index} = 1").unwrap();
        text
    });

    let errors = read(&text).unwrap_err();

    assert_eq!((errors.errors().len(), errors.left_out()), (1_000, 4_000));
    assert!(errors.to_string().contains("5000 errors"), "{errors}");
}
