//! Names of fields inside a body, `user.address.city`, and many of them as one tree, so that a body is read once. Pure.

use std::collections::BTreeMap;

/// Fields below each other at most.
pub const MAX_DEPTH: usize = 16;

/// The way to a value inside maps, by the names of their fields. A field whose name holds a dot cannot be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<String>);

/// Why a text names no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// An empty text, or a dot too many.
    #[error(
        "has an empty name; write the names of the fields from the outermost to the wanted one with one dot between two"
    )]
    EmptyName,
    /// More than [`MAX_DEPTH`].
    #[error("goes through more than {MAX_DEPTH} fields")]
    TooDeep,
}

impl Path {
    /// The path of a text: names with dots between them.
    ///
    /// # Errors
    /// An empty name, or too many.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            Err(PathError::EmptyName)
        } else if names.len() > MAX_DEPTH {
            Err(PathError::TooDeep)
        } else {
            Ok(Self(names))
        }
    }
}

/// Paths as a tree, numbered in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    root: Field,
    count: usize,
}

/// One field, or the body itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// The paths that end here.
    ends: Vec<usize>,
    inside: BTreeMap<String, Field>,
}

impl Wanted {
    pub(super) fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let (mut root, mut count) = (Field::default(), 0);
        for path in paths {
            let mut field = &mut root;
            for name in &path.0 {
                field = field.inside.entry(name.clone()).or_default();
            }
            field.ends.push(count);
            count += 1;
        }
        Self { root, count }
    }

    pub(super) fn root(&self) -> &Field {
        &self.root
    }

    /// How many paths there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Field {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Self> {
        self.inside.get(std::str::from_utf8(name).ok()?)
    }

    /// Whether a path goes on below this field.
    pub(super) fn goes_on(&self) -> bool {
        !self.inside.is_empty()
    }

    /// The field has this value, and none of what was found below an earlier one of its name counts.
    pub(super) fn found<'a>(&self, value: &'a [u8], found: &mut [Option<&'a [u8]>]) {
        self.inside.values().for_each(|field| field.forget(found));
        self.set(Some(value), found);
    }

    fn forget(&self, found: &mut [Option<&[u8]>]) {
        self.set(None, found);
        self.inside.values().for_each(|field| field.forget(found));
    }

    fn set<'a>(&self, value: Option<&'a [u8]>, found: &mut [Option<&'a [u8]>]) {
        for end in &self.ends {
            if let Some(place) = found.get_mut(*end) {
                *place = value;
            }
        }
    }
}
