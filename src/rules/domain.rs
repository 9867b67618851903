//! Patterns over domain names, and one index that asks many of them at once.

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
