//! Words of commands that users are told to type.

/// A word as a shell takes it: quoted where it has to be.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, shown) in
            [("shop.toml", "shop.toml"), ("my shop.toml", "'my shop.toml'"), ("it's", "'it'\\''s'"), ("", "''")]
        {
            assert_eq!(shell_word(word), shown);
        }
    }
}
