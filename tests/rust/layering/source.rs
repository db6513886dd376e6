//! Reads a source file as tokens: which paths it names, from which module, and which lines are tests.
//!
//! Tokens rather than lines, so that comments and strings never count; tokens rather than a syntax tree,
//! so that the bodies of macros are read too.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Words that `::tokio` may follow without being part of its path.
const KEYWORDS: &[&str] = &[
    "as", "dyn", "else", "for", "if", "impl", "in", "let", "match", "mut", "return", "use", "where", "while",
];

/// A path of the source, resolved as far as its text allows.
pub struct Found {
    /// `["crate", "pool", "Node"]` if it is ours, `["std", "thread"]` or `["x", "y"]` otherwise.
    pub segments: Vec<String>,
    pub line: usize,
    pub imported: bool,
    pub in_tests: bool,
}

/// What one walk over the tokens of a file collects.
#[derive(Default)]
pub struct Reading {
    pub paths: Vec<Found>,
    /// Names called as macros, outside tests.
    pub macros: Vec<(String, usize)>,
    /// `unsafe` itself, and attributes that would permit it.
    pub unsafes: Vec<usize>,
    pub test_lines: usize,
}

/// Where in the module tree the walk is.
#[derive(Clone)]
struct Place {
    module: Vec<String>,
    in_tests: bool,
}

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, c: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// Whether `#[…]` limits the next item to test builds.
fn is_cfg_test(attribute: &TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text.starts_with("cfg(") && text.contains("test") && !text.contains("not(test)")
}

fn permits_unsafe(attribute: &TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text.contains("unsafe_code") && ["allow", "expect", "warn"].iter().any(|level| text.contains(level))
}

/// Reads the path that starts at `at`; returns its spellings (one per leaf of a `use` tree) and the next index.
fn read_path(tokens: &[TokenTree], mut at: usize, prefix: &[String]) -> (Vec<Vec<String>>, usize) {
    let mut segments = prefix.to_vec();
    segments.extend(word(tokens.get(at)));
    at += 1;
    while is_double_colon(tokens, at) {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(ident)) => segments.push(ident.to_string()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => segments.push("*".into()),
            Some(TokenTree::Group(tree)) if tree.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = tree.stream().into_iter().collect();
                let leaves = inner.split(|token| is_punct(Some(token), ','));
                let found = leaves.filter(|leaf| !leaf.is_empty()).flat_map(|leaf| match &leaf[0] {
                    TokenTree::Punct(_) => vec![[&segments[..], &["*".into()]].concat()],
                    _ => read_path(leaf, 0, &segments).0,
                });
                return (found.collect(), at + 3);
            }
            _ => break,
        }
        at += 3;
    }
    (vec![segments], at)
}

/// Turns `self` and `super` into a path from `crate`; leaves other paths as they stand.
fn resolve(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let mut base = match segments[0].as_str() {
        "self" | "super" if segments.len() > 1 || segments[0] == "super" => {
            [&["crate".to_string()], module].concat()
        }
        _ => return segments,
    };
    for segment in segments {
        match segment.as_str() {
            "self" => {}
            "super" => drop(base.pop()),
            _ => base.push(segment),
        }
    }
    base
}

impl Reading {
    pub fn of(source: &str, module: &[String], in_tests: bool) -> Self {
        let mut reading = Self::default();
        let stream = TokenStream::from_str(source).expect("a file that compiles is made of tokens");
        reading.walk(stream, &Place { module: module.to_vec(), in_tests });
        reading
    }

    fn walk(&mut self, stream: TokenStream, place: &Place) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut test_from: Option<usize> = None;
        let mut at = 0;
        while at < tokens.len() {
            let line = tokens[at].span().start().line;
            let here = Place { in_tests: place.in_tests || test_from.is_some(), ..place.clone() };
            match &tokens[at] {
                TokenTree::Group(group) => {
                    let attribute = group.delimiter() == Delimiter::Bracket
                        && at > 0
                        && (is_punct(tokens.get(at - 1), '#') || is_punct(tokens.get(at - 1), '!'));
                    if attribute && permits_unsafe(&group.stream()) {
                        self.unsafes.push(line);
                    }
                    if attribute && is_cfg_test(&group.stream()) {
                        test_from.get_or_insert(line);
                    }
                    self.walk(group.stream(), &inside(&tokens, at, here));
                    if group.delimiter() == Delimiter::Brace {
                        self.end_test_item(&mut test_from, group.span_close().end().line, place);
                    }
                    at += 1;
                }
                TokenTree::Ident(_) => at = self.ident(&tokens, at, &here),
                TokenTree::Punct(p) => {
                    if p.as_char() == ';' {
                        self.end_test_item(&mut test_from, line, place);
                    }
                    at += 1;
                }
                TokenTree::Literal(_) => at += 1,
            }
        }
    }

    fn end_test_item(&mut self, from: &mut Option<usize>, to: usize, outer: &Place) {
        if let Some(from) = from.take().filter(|_| !outer.in_tests) {
            self.test_lines += to + 1 - from;
        }
    }

    fn ident(&mut self, tokens: &[TokenTree], at: usize, place: &Place) -> usize {
        let name = word(tokens.get(at)).expect("called on an identifier");
        let line = tokens[at].span().start().line;
        if name == "unsafe" {
            self.unsafes.push(line);
        }
        if KEYWORDS.contains(&name.as_str()) {
            return at + 1;
        }
        if is_punct(tokens.get(at + 1), '!') && !place.in_tests {
            self.macros.push((name, line));
        }
        let after_generics = at > 2 && is_double_colon(tokens, at - 2) && is_punct(tokens.get(at - 3), '>');
        let (spellings, next) = read_path(tokens, at, &[]);
        if !after_generics {
            let before = if at > 2 && is_double_colon(tokens, at - 2) { at - 3 } else { at.wrapping_sub(1) };
            let imported = matches!(word(tokens.get(before)).as_deref(), Some("use" | "crate"));
            self.paths.extend(spellings.into_iter().map(|segments| Found {
                segments: resolve(segments, &place.module),
                line,
                imported,
                in_tests: place.in_tests,
            }));
        }
        next
    }
}

/// The place inside the group at `at`: one module deeper if the group is the body of `mod name`.
fn inside(tokens: &[TokenTree], at: usize, mut place: Place) -> Place {
    if at > 1 && word(tokens.get(at - 2)).as_deref() == Some("mod") {
        place.module.extend(word(tokens.get(at - 1)));
    }
    place
}
