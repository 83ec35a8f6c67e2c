//! YAML text to a tree that keeps what a check needs: the place of every node, every key of a map (duplicates too), and
//! each scalar as it was written (`topic: 0123` is a topic called `0123`).
//!
//! Built from the parser's events rather than from saphyr's `MarkedYaml`, which stops at the first duplicate key and
//! recurses as deep as the file does. Pure. Bounded: depth and number of nodes, those that aliases repeat included.
//! Merge keys (`<<: *defaults`) work as in YAML 1.1.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Nodes of one file after aliases are replaced; more is refused ("billion laughs").
pub(super) const MAX_NODES: usize = 100_000;

/// Nesting of one file; the deepest schema needs 4.
const MAX_DEPTH: usize = 32;

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// Where a file begins.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
        }
    }
}

/// One node with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) data: Data,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// Nothing after the colon, `~` or `null`.
    Null,
    /// A scalar without quotes, as written.
    Plain(String),
    /// A scalar in quotes, a block scalar, or one tagged `!!str`.
    Quoted(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, duplicates included.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// Why a text is no tree. Only the first reason is known: after it the text has no meaning.
#[derive(Debug)]
pub(super) struct TreeError {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Reads one document.
///
/// # Errors
/// A syntax error, a second document, a limit, or a map key that is no scalar.
pub(super) fn parse(text: &str) -> Result<Node, TreeError> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| TreeError {
            place: Place {
                line: error.marker().line(),
                column: error.marker().col() + 1,
            },
            message: format!("is not YAML: {}", error.info()),
        })?;
        builder.event(event, span.into())?;
    }
    Ok(builder.document.unwrap_or(Node {
        place: Place::START,
        data: Data::Null,
    }))
}

/// A list or map whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Place)>,
    },
}

/// An anchored node, with its size and depth so that an alias is refused before it is copied.
struct Anchored {
    node: Node,
    size: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
    document: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), TreeError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let data = scalar(text.into_owned(), style, tag.as_deref(), place)?;
                self.complete(Node { place, data }, anchor)
            }
            Event::SequenceStart(anchor, _tag) => self.start(anchor, place, Content::List(Vec::new())),
            Event::MappingStart(anchor, _tag) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    key: None,
                };
                self.start(anchor, place, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::DocumentStart(_) if self.document.is_some() => Err(TreeError {
                place,
                message: "has a second document; one file holds one document".to_owned(),
            }),
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Ok(()),
        }
    }

    fn start(&mut self, anchor: usize, place: Place, content: Content) -> Result<(), TreeError> {
        check_depth(self.open.len() + 1, place)?;
        self.open.push(Open {
            anchor,
            place,
            content,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), TreeError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let data = match open.content {
            Content::List(items) => Data::List(items),
            Content::Map { entries, .. } => Data::Map(merged(entries)?),
        };
        self.complete(
            Node {
                place: open.place,
                data,
            },
            open.anchor,
        )
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), TreeError> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(TreeError {
                place,
                message: "refers to itself".to_owned(),
            });
        };
        check_depth(self.open.len() + anchored.depth, place)?;
        self.nodes += anchored.size;
        check_nodes(self.nodes, place)?;
        let node = anchored.node.clone();
        self.attach(node)
    }

    /// A node is whole: remember it when it has an anchor, then hang it where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), TreeError> {
        self.nodes += 1;
        check_nodes(self.nodes, node.place)?;
        if anchor > 0 {
            let (size, depth) = measure(&node);
            let node = node.clone();
            self.anchors.insert(anchor, Anchored { node, size, depth });
        }
        self.attach(node)
    }

    fn attach(&mut self, node: Node) -> Result<(), TreeError> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.document = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match key.take() {
                None => *key = Some((key_text(&node)?, node.place)),
                Some((key, place)) => entries.push(Entry {
                    key,
                    place,
                    value: node,
                }),
            },
        }
        Ok(())
    }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Data, TreeError> {
    match tag {
        None => {}
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => return Ok(Data::Quoted(text)),
        Some(tag) => {
            return Err(TreeError {
                place,
                message: format!("has the tag {tag}, which has no meaning here; remove it"),
            });
        }
    }
    Ok(match (style, text.as_str()) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Data::Null,
        (ScalarStyle::Plain, _) => Data::Plain(text),
        _ => Data::Quoted(text),
    })
}

fn key_text(node: &Node) -> Result<String, TreeError> {
    match &node.data {
        Data::Plain(text) | Data::Quoted(text) => Ok(text.clone()),
        Data::Null => Ok("null".to_owned()),
        Data::List(_) | Data::Map(_) => Err(TreeError {
            place: node.place,
            message: "has a list or a map as a key; a key is a word".to_owned(),
        }),
    }
}

/// Replaces `<<` by the entries of the map or maps it names; a key that is written out wins.
fn merged(entries: Vec<Entry>) -> Result<Vec<Entry>, TreeError> {
    if !entries.iter().any(|entry| entry.key == "<<") {
        return Ok(entries);
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.key == "<<");
    let mut known: BTreeSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
    for merge in merges {
        let sources = match merge.value.data {
            Data::List(items) => items,
            data => vec![Node {
                place: merge.value.place,
                data,
            }],
        };
        for source in sources {
            let Data::Map(inherited) = source.data else {
                return Err(TreeError {
                    place: merge.place,
                    message: "has a merge key << that names no map".to_owned(),
                });
            };
            for entry in inherited {
                if known.insert(entry.key.clone()) {
                    own.push(entry);
                }
            }
        }
    }
    Ok(own)
}

fn measure(node: &Node) -> (usize, usize) {
    let children: Vec<(usize, usize)> = match &node.data {
        Data::List(items) => items.iter().map(measure).collect(),
        Data::Map(entries) => entries
            .iter()
            .map(|entry| measure(&entry.value))
            .map(|(size, depth)| (size + 1, depth))
            .collect(),
        Data::Null | Data::Plain(_) | Data::Quoted(_) => Vec::new(),
    };
    let size = children.iter().map(|(size, _)| size).sum::<usize>() + 1;
    let depth = children.iter().map(|(_, depth)| *depth).max().unwrap_or(0) + 1;
    (size, depth)
}

fn check_depth(depth: usize, place: Place) -> Result<(), TreeError> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(TreeError {
        place,
        message: format!("is nested deeper than {MAX_DEPTH} levels"),
    })
}

fn check_nodes(nodes: usize, place: Place) -> Result<(), TreeError> {
    if nodes <= MAX_NODES {
        return Ok(());
    }
    Err(TreeError {
        place,
        message: format!("has more than {MAX_NODES} values (those repeated by aliases count)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().message
    }

    fn map(text: &str) -> Vec<Entry> {
        match parse(text).unwrap().data {
            Data::Map(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_are_those_of_an_editor() {
        let entries = map("a: 1\nb:\n  - x\n  - y\n");
        assert_eq!(entries[1].place, Place { line: 2, column: 1 });
        let Data::List(items) = &entries[1].value.data else {
            panic!()
        };
        assert_eq!(items[1].place, Place { line: 4, column: 5 });
    }

    #[test]
    fn scalars_stay_as_written() {
        let entries = map("a: 0123\nb: '1'\nc:\nd: !!str 5\ne: ~\n");
        assert!(matches!(&entries[0].value.data, Data::Plain(text) if text == "0123"));
        assert!(matches!(&entries[1].value.data, Data::Quoted(text) if text == "1"));
        assert!(matches!(&entries[2].value.data, Data::Null));
        assert!(matches!(&entries[3].value.data, Data::Quoted(text) if text == "5"));
        assert!(matches!(&entries[4].value.data, Data::Null));
    }

    #[test]
    fn duplicates_are_kept() {
        assert_eq!(map("a: 1\na: 2\n").len(), 2);
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_grows() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let inner = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(error(&text).contains("more than 100000 values"));
    }

    #[test]
    fn deep_nesting_is_refused_by_brackets_and_by_aliases() {
        assert!(error(&"[".repeat(100)).contains("nested deeper"));
        assert!(error(&"- ".repeat(100_000)).contains("nested deeper"));
        assert!(error(&"[".repeat(100_000)).contains("is not YAML"));
        let mut text = String::from("a0: &a0 [x]\n");
        for level in 1..100 {
            text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert!(error(&text).contains("nested deeper"));
    }

    #[test]
    fn an_alias_inside_its_own_anchor_is_refused() {
        assert!(parse("a: &a [*a]\n").is_err());
    }

    #[test]
    fn merge_keys_inherit_and_written_keys_win() {
        let entries = map("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3\n");
        let Data::Map(mine) = &entries[1].value.data else {
            panic!()
        };
        let keys: Vec<_> = mine.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["y", "x"]);
        assert!(error("<<: 5\n").contains("names no map"));
    }

    #[test]
    fn what_is_no_single_document_of_words_is_refused() {
        assert!(error("a: 1\n---\nb: 2\n").contains("second document"));
        assert!(error("? [a]\n: 1\n").contains("as a key"));
        assert!(error("a: !foo 1\n").contains("no meaning"));
        assert!(error("a: [1\n").contains("is not YAML"));
        assert!(matches!(parse("").unwrap().data, Data::Null));
        assert!(matches!(parse("# only a comment\n").unwrap().data, Data::Null));
    }
}
