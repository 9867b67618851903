//! Patterns over domain names.

use std::fmt;
use std::str::FromStr;

/// One domain pattern. Names are ASCII lower case without a final dot, by construction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DomainPattern {
    /// `example.com` or `suffix:example.com`: the name itself and everything below it.
    Suffix(Box<str>),
    /// `full:example.com`: the name itself only.
    Full(Box<str>),
    /// `keyword:ample`: any name that contains these characters.
    Keyword(Box<str>),
}

/// Longest name in text, without the final dot (RFC 1035, 2.3.4: 255 octets on the wire).
pub const MAX_NAME: usize = 253;

/// Longest label (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// Text that is no [`DomainPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// No name at all.
    #[error("the name is empty")]
    Empty,
    /// Two dots in a row, or a dot in front.
    #[error("the name has an empty part between dots")]
    EmptyLabel,
    /// Not a letter, digit, hyphen, underscore or dot.
    #[error("{0:?} cannot stand in a name; write other alphabets as xn--...")]
    Character(char),
    /// Longer than [`MAX_NAME`].
    #[error("the name is longer than 253 characters")]
    NameTooLong,
    /// A label of more than 63 characters.
    #[error("a part between dots is longer than 63 characters")]
    LabelTooLong,
    /// `regexp:`, `geosite:` and the like.
    #[error("{0}: is not supported; write suffix:, full: or keyword:")]
    Unsupported(Box<str>),
}

impl DomainPattern {
    /// The characters, without the kind; 1 to [`MAX_NAME`] of them.
    pub fn name(&self) -> &str {
        let (Self::Suffix(name) | Self::Full(name) | Self::Keyword(name)) = self;
        name
    }

    /// Whether a name (lower case, no final dot) is accepted.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Suffix(suffix) => name
                .strip_suffix(&**suffix)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            Self::Full(full) => name == &**full,
            Self::Keyword(keyword) => name.contains(&**keyword),
        }
    }
}

/// ASCII lower case without one final dot: how names are compared everywhere.
pub fn normalize(name: &str) -> Box<str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase().into_boxed_str()
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suffix(name) => f.write_str(name),
            Self::Full(name) => write!(f, "full:{name}"),
            Self::Keyword(name) => write!(f, "keyword:{name}"),
        }
    }
}

/// `example.com`, `suffix:example.com`, `full:example.com`, `keyword:ample`, in any case. A
/// suffix may be written with a dot in front (`.example.com`), as other programs do.
impl FromStr for DomainPattern {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let text = text.to_ascii_lowercase();
        let (kind, name) = text.split_once(':').unwrap_or(("suffix", &text));
        match kind {
            "suffix" => Ok(Self::Suffix(parse_name(
                name.strip_prefix('.').unwrap_or(name),
            )?)),
            "full" => Ok(Self::Full(parse_name(name)?)),
            "keyword" => Ok(Self::Keyword(parse_keyword(name)?)),
            _ => Err(DomainError::Unsupported(kind.into())),
        }
    }
}

fn parse_name(text: &str) -> Result<Box<str>, DomainError> {
    let name = normalize(text);
    check_characters(&name)?;
    for label in name.split('.') {
        match label.len() {
            0 => return Err(DomainError::EmptyLabel),
            1..=MAX_LABEL => {}
            _ => return Err(DomainError::LabelTooLong),
        }
    }
    Ok(name)
}

/// Keywords are parts of names: a dot may stand anywhere in them, at either end too.
fn parse_keyword(text: &str) -> Result<Box<str>, DomainError> {
    let keyword = text.to_ascii_lowercase().into_boxed_str();
    check_characters(&keyword)?;
    Ok(keyword)
}

fn check_characters(name: &str) -> Result<(), DomainError> {
    if name.is_empty() {
        return Err(DomainError::Empty);
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(bad) = name.chars().find(|c| !allowed(c)) {
        return Err(DomainError::Character(bad));
    }
    if name.len() > MAX_NAME {
        Err(DomainError::NameTooLong)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_and_written() {
        for (text, written) in [
            ("Example.COM", "example.com"),
            ("Full:B.A", "full:b.a"),
            ("suffix:example.com.", "example.com"),
            (".example.com", "example.com"),
            ("full:a_b.example", "full:a_b.example"),
            ("keyword:.ads-", "keyword:.ads-"),
            ("cn", "cn"),
        ] {
            let pattern: DomainPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), written);
            assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let label = "a".repeat(64);
        let name = format!("{0}.{0}.{0}.{0}.abc", "a".repeat(62));
        for (text, error) in [
            ("", DomainError::Empty),
            (".", DomainError::Empty),
            ("full:", DomainError::Empty),
            ("keyword:", DomainError::Empty),
            ("a..b", DomainError::EmptyLabel),
            ("full:.a", DomainError::EmptyLabel),
            ("a..", DomainError::EmptyLabel),
            ("ex ample", DomainError::Character(' ')),
            ("*.example.com", DomainError::Character('*')),
            ("müller.de", DomainError::Character('ü')),
            ("suffix:full:a", DomainError::Character(':')),
            (&label, DomainError::LabelTooLong),
            (&name, DomainError::NameTooLong),
            ("regexp:^a", DomainError::Unsupported("regexp".into())),
            ("geosite:cn", DomainError::Unsupported("geosite".into())),
        ] {
            assert_eq!(text.parse::<DomainPattern>(), Err(error), "{text}");
        }
        assert!(
            name[2..].parse::<DomainPattern>().is_ok(),
            "253 characters are allowed"
        );
    }

    #[test]
    fn suffixes_end_at_labels() {
        let suffix: DomainPattern = "example.com".parse().unwrap();
        assert!(suffix.matches("example.com") && suffix.matches("a.b.example.com"));
        assert!(!suffix.matches("badexample.com") && !suffix.matches("com"));
        let full: DomainPattern = "full:example.com".parse().unwrap();
        assert!(full.matches("example.com") && !full.matches("a.example.com"));
        let keyword: DomainPattern = "keyword:ple.c".parse().unwrap();
        assert!(keyword.matches("example.com") && !keyword.matches("example.org"));
    }
}
