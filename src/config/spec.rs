//! What an option is: one declaration from which parsing, problems and help come.

use super::problem::Wrong;

/// What values of an option look like, as help says it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// `1` or `0`.
    Switch,
    /// A number from the first to the last.
    Number(u32, u32),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Anything else, in words: `an address`.
    Text(&'static str),
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch => f.write_str("1 or 0"),
            Self::Number(min, max) => write!(f, "a number from {min} to {max}"),
            Self::Word(words) => match words {
                [only] => f.write_str(only),
                [first @ .., last] => write!(f, "{} or {last}", first.join(", ")),
                [] => Ok(()),
            },
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// An option's declaration.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Most values; more than 1 makes a list: `list x 'a'` or `option x 'a b'`.
    pub(super) max: usize,
    /// Values may start with `!`.
    pub(super) negatable: bool,
    pub(super) required: bool,
    /// Values are never shown.
    pub(super) secret: bool,
    /// In the form a file would have; lists split at spaces.
    pub(super) default: Option<&'static str>,
    /// One or two sentences for the router's owner.
    pub(super) help: &'static str,
}

/// A declaration together with the reader of a value.
pub(super) struct Opt<T: 'static> {
    pub(super) spec: Spec,
    pub(super) read: fn(&Spec, &str) -> Result<T, Wrong>,
}

impl<T> Opt<T> {
    pub(super) const fn new(
        name: &'static str,
        form: Form,
        read: fn(&Spec, &str) -> Result<T, Wrong>,
        help: &'static str,
    ) -> Self {
        let spec = Spec {
            name,
            form,
            max: 1,
            negatable: false,
            required: false,
            secret: false,
            default: None,
            help,
        };
        Self { spec, read }
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.spec.default = Some(text);
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.spec.required = true;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.spec.secret = true;
        self
    }

    pub(super) const fn list(mut self, max: usize) -> Self {
        self.spec.max = max;
        self
    }

    /// A list of values that may start with `!`: a [`crate::rules::Selector`].
    pub(super) const fn selector(mut self) -> Self {
        self.spec.max = MAX_VALUES;
        self.spec.negatable = true;
        self
    }
}

/// Most values of one selector.
pub(super) const MAX_VALUES: usize = 65_536;

/// An [`Opt`] whose type does not matter.
pub(super) trait AnyOpt: Sync {
    fn spec(&self) -> &Spec;
    /// Whether the value can be read.
    fn check(&self, value: &str) -> Result<(), Wrong>;
}

impl<T> AnyOpt for Opt<T> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn check(&self, value: &str) -> Result<(), Wrong> {
        (self.read)(&self.spec, value).map(drop)
    }
}

/// How sections of a type are named, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// One, with this name.
    Only(&'static str),
    /// Each has a name of its own, by which others refer to it.
    Named,
    /// Names are not needed; the order counts.
    Ordered,
}

/// A section type.
pub(super) struct SectionSpec {
    pub(super) kind: &'static str,
    pub(super) naming: Naming,
    /// Most sections of this type.
    pub(super) max: usize,
    pub(super) help: &'static str,
    pub(super) options: &'static [&'static dyn AnyOpt],
}

impl SectionSpec {
    pub(super) fn option(&self, name: &str) -> Option<&'static dyn AnyOpt> {
        self.options
            .iter()
            .find(|option| option.spec().name == name)
            .copied()
    }

    pub(super) fn option_names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.options.iter().map(|option| option.spec().name)
    }
}
