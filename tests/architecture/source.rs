//! A Rust source as the checker sees it: words and punctuation with their lines, without comments, strings and test modules; then the
//! paths in it, groups of `use` expanded and `super` resolved.

/// A word or a piece of punctuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A path such as `crate::host::Observe`, with the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub segments: Vec<String>,
    pub line: usize,
    /// The name a file gives it: `f` in `use std::fs as f;` and in `type f = std::fs;`.
    pub alias: Option<String>,
    /// Whether others may import it from here: `pub use`.
    pub passed_on: bool,
}

/// What surrounds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Code,
    Use,
    PubUse,
}

impl Path {
    /// Whether these segments stand somewhere in it, next to each other: `fs::write` in `std::fs::write`.
    pub fn has(&self, segments: &[&str]) -> bool {
        self.segments.windows(segments.len()).any(|window| window == segments)
    }
}

/// The tokens of a source that is shipped: what `#[cfg(test)]` guards is left out.
pub fn tokens(source: &str) -> Vec<Token> {
    without_tests(&lex(source))
}

fn lex(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < text.len() {
        let rest = &text[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '"', ..] | ['r', '#', '"' | '#', ..] => raw_string(rest, 1),
            ['b', 'r', '"' | '#', ..] => raw_string(rest, 2),
            ['b' | 'c', '"', ..] => 1 + string(&rest[1..]),
            ['"', ..] => string(rest),
            ['\'', '\\', ..] => 2 + rest[3..].iter().position(|&c| c == '\'').map_or(1, |end| end + 2),
            ['\'', _, '\'', ..] => 3,
            [first, ..] if is_word(*first) => {
                let length = rest.iter().position(|&c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token { text: rest[..length].iter().collect(), line });
                length
            }
            [':', ':', ..] => {
                tokens.push(Token { text: "::".to_owned(), line });
                2
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.to_string(), line });
                }
                1
            }
            [] => 1,
        };
        line += rest[..length.min(rest.len())].iter().filter(|&&c| c == '\n').count();
        at += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return open; // a raw identifier
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &rest[open + 1..];
    body.windows(close.len()).position(|window| window == close).map_or(rest.len(), |end| open + 1 + end + close.len())
}

fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let guard = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        if rest.len() >= guard.len() && rest.iter().zip(guard).all(|(token, text)| token.text == text) {
            rest = &rest[item_length(rest)..];
        } else {
            kept.push(first.clone());
            rest = &rest[1..];
        }
    }
    kept
}

/// The length of a guarded item: to its `;`, or to the end of its braces.
fn item_length(tokens: &[Token]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            ";" if depth == 0 => return at + 1,
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Every path of a source with `super` resolved against the module that the file is (`["host", "linux"]`), and with the names that the
/// file gave to other paths put back to what they stand for.
pub fn paths(tokens: &[Token], module: &[String]) -> Vec<Path> {
    let (mut paths, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let around = around(&tokens[..at]);
        if around != Around::Code && tokens[at].text == "{" {
            at = group(tokens, at + 1, &[], around, &mut paths);
            continue;
        }
        let is_path = around != Around::Code || tokens.get(at + 1).is_some_and(|next| next.text == "::");
        if is_path && begins(tokens, at) {
            let first = paths.len();
            let ends = path(tokens, at, &[], around, &mut paths);
            if let [.., keyword, name, equals] = &tokens[..at]
                && keyword.text == "type"
                && equals.text == "="
            {
                paths[first].alias = Some(name.text.clone());
            }
            at = ends;
        } else {
            at += 1;
        }
    }
    paths.iter_mut().for_each(|path| resolve(path, module));
    unalias(&mut paths);
    paths
}

/// `std` in `std::fs` and in `::std::fs`; neither `fs` in it nor `collect` in `iter.collect::<Vec<_>>()` stands first.
fn begins(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| tokens[at].text.as_str());
    let goes_on = |text: &str| text == ">" || text == ")" || text.chars().all(is_word) && text != "use";
    let first = before(1) != Some("::") || before(2).is_none_or(|text| !goes_on(text));
    first && is_word_token(&tokens[at]) && tokens[at].text != "use"
}

fn around(before: &[Token]) -> Around {
    let before = match before {
        [rest @ .., last] if last.text == "::" => rest,
        all => all,
    };
    match before {
        [.., public, last] if last.text == "use" && (public.text == "pub" || public.text == ")") => Around::PubUse,
        [.., last] if last.text == "use" => Around::Use,
        _ => Around::Code,
    }
}

fn is_word_token(token: &Token) -> bool {
    token.text.chars().next().is_some_and(is_word)
}

/// Reads one path or one branch of a group; answers where it ends.
fn path(tokens: &[Token], mut at: usize, before: &[String], around: Around, paths: &mut Vec<Path>) -> usize {
    let mut segments = before.to_vec();
    let line = tokens[at].line;
    while let Some(token) = tokens.get(at) {
        if is_word_token(token) || token.text == "*" {
            segments.push(token.text.clone());
            at += 1;
        } else if token.text == "{" {
            return group(tokens, at + 1, &segments, around, paths);
        }
        match tokens.get(at) {
            Some(token) if token.text == "::" => at += 1,
            _ => break,
        }
        if tokens.get(at).is_some_and(|token| !is_word_token(token) && token.text != "{" && token.text != "*") {
            break; // `::<`
        }
    }
    let mut alias = None;
    if around != Around::Code && tokens.get(at).is_some_and(|token| token.text == "as") {
        alias = tokens.get(at + 1).map(|name| name.text.clone());
        at += 2;
    }
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    paths.push(Path { segments, line, alias, passed_on: around == Around::PubUse });
    at
}

fn group(tokens: &[Token], mut at: usize, before: &[String], around: Around, paths: &mut Vec<Path>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            _ if is_word_token(token) || token.text == "*" => at = path(tokens, at, before, around, paths),
            _ => at += 1,
        }
    }
    at
}

/// The most names that may lead to one another before a path is what it is.
const RENAMED_AT_MOST: usize = 8;

fn unalias(paths: &mut [Path]) {
    for _ in 0..RENAMED_AT_MOST {
        let named = |path: &Path| Some((path.alias.clone()?, path.segments.clone()));
        let names: Vec<(String, Vec<String>)> = paths.iter().filter_map(named).collect();
        for path in &mut *paths {
            let stands_for = names.iter().find(|(name, _)| path.segments[0] == *name);
            // A name that stands for a path beginning with that same name leads nowhere.
            if let Some((_, segments)) = stands_for.filter(|(name, segments)| segments[0] != *name) {
                path.segments.splice(..1, segments.iter().cloned());
            }
        }
    }
}

fn resolve(path: &mut Path, module: &[String]) {
    let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
    let up = match path.segments.first().map(String::as_str) {
        Some("csictl") => return path.segments[0] = "crate".to_owned(),
        Some("self") if path.segments.len() > 1 => 0,
        Some("super") => supers,
        _ => return,
    };
    let own = &module[..module.len().saturating_sub(up)];
    let rest = path.segments.split_off(supers.max(1));
    path.segments = std::iter::once("crate".to_owned()).chain(own.iter().cloned()).chain(rest).collect();
}
