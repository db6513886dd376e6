//! The fences between the layers, tested on the source text.
//!
//! Why on the text: inside one crate the compiler lets every module see every other, so that the arrows of
//! the front page would otherwise be a promise. Paths are resolved from where they stand
//! (`super::super::pool` is `crate::pool`).
//!
//! What it does not do: follow renames and re-exports. A path must say the layer its thing lives in, and one
//! that goes through the crate's front page is itself an offence.

use std::fmt;
use std::fs;
use std::path::Path;

mod source;

use source::{Found, Reading};

/// What a folder of `src/` may see.
struct Layer {
    name: &'static str,
    /// The folders of ours it may name, besides itself.
    uses: &'static [&'static str],
    /// The crates it may name.
    crates: Crates,
}

enum Crates {
    /// These and `std` without its clocks, threads and I/O: the layers that decide.
    Pure(&'static [&'static str]),
    /// Whatever `Cargo.toml` lists, except what binds to an interpreter.
    AllButPython,
    /// Whatever `Cargo.toml` lists.
    All,
}

const CORE: &[&str] = &["base", "window", "policy", "pool", "pipeline"];
/// What stands in for the atomics of `std` when every interleaving of them is tried.
const ATOMICS: &[&str] = &["loom"];
/// The same, and locks for the state beside the atomics: none of it waits for the outside world.
const LOCKS: &[&str] = &["loom", "parking_lot"];

const LAYERS: &[Layer] = &[
    Layer { name: "base", uses: &[], crates: Crates::Pure(ATOMICS) },
    Layer { name: "window", uses: &["base"], crates: Crates::Pure(ATOMICS) },
    Layer { name: "policy", uses: &["base", "window"], crates: Crates::Pure(LOCKS) },
    Layer { name: "pool", uses: &["base", "window"], crates: Crates::Pure(LOCKS) },
    Layer { name: "pipeline", uses: &["base", "window", "policy", "pool"], crates: Crates::Pure(LOCKS) },
    Layer { name: "sim", uses: CORE, crates: Crates::Pure(LOCKS) },
    Layer { name: "runtime", uses: CORE, crates: Crates::AllButPython },
    Layer {
        name: "python",
        uses: &["base", "window", "policy", "pool", "pipeline", "sim", "runtime"],
        crates: Crates::All,
    },
];

/// The parts of `std` that reach out of the process or wait for something in it.
const WORLD: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread"];
const CLOCKS: &[&str] = &["Instant", "SystemTime", "UNIX_EPOCH"];
const PRINTING: &[&str] = &["dbg", "eprint", "eprintln", "print", "println"];

/// The one folder where `unsafe` is allowed.
const UNSAFE_HOME: &str = "src/python/call/";

/// Lines of one file without its tests.
const LONGEST_FILE: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Arrow,
    World,
    Unsafe,
    Size,
}

struct Offence {
    rule: Rule,
    at: String,
    why: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.why)
    }
}

/// `src/policy/breaker/mod.rs` is the module `policy::breaker`.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    inner.split('/').filter(|part| !matches!(*part, "mod" | "lib")).map(Into::into).collect()
}

/// The crates `Cargo.toml` lists, as they are written in source.
fn dependencies() -> Vec<String> {
    let mut names = Vec::new();
    let mut listing = false;
    for line in include_str!("../../Cargo.toml").lines() {
        if line.starts_with('[') {
            listing = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| listing) {
            names.push(name.trim().replace('-', "_"));
        }
    }
    names
}

fn arrow(layer: &Layer, from: &[String], found: &Found) -> Option<String> {
    let [root, target @ ..] = &found.segments[..] else { return None };
    if root != "crate" {
        return None;
    }
    let Some(to) = target.first() else {
        return found.imported.then(|| "imports the whole crate".into());
    };
    let path = found.segments.join("::");
    if !LAYERS.iter().any(|known| known.name == to) {
        return Some(format!("`{path}` does not name the layer it lives in"));
    }
    if to == layer.name {
        let another = from.get(1).is_some_and(|own| match target.get(1) {
            Some(other) => other != own,
            None => found.imported,
        });
        return (layer.name == "policy" && another).then(|| format!("a policy must not know `{path}`"));
    }
    (!layer.uses.contains(&to.as_str())).then(|| format!("{} must not know `{path}`", layer.name))
}

fn reaches_out(layer: &Layer, dependencies: &[String], found: &Found) -> Option<String> {
    let root = found.segments.first()?;
    let foreign = (found.segments.len() > 1 || found.imported) && dependencies.contains(root);
    let second = found.segments.get(1).map_or("", String::as_str);
    let banned = match layer.crates {
        Crates::All => false,
        Crates::AllButPython => foreign && root.starts_with("pyo3"),
        Crates::Pure(allowed) => {
            (foreign && !allowed.contains(&root.as_str()))
                || (root == "std" && WORLD.contains(&second))
                || found.segments.iter().any(|segment| CLOCKS.contains(&segment.as_str()))
        }
    };
    banned.then(|| format!("{} must not name `{}`", layer.name, found.segments.join("::")))
}

/// Everything wrong with one file of `src/`.
fn offences(path: &str, source: &str, dependencies: &[String]) -> Vec<Offence> {
    let module = module_of(path);
    let tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    let reading = Reading::of(source, &module, tests);
    let mut all = Vec::new();
    let mut say = |rule, line: usize, why| all.push(Offence { rule, at: format!("{path}:{line}"), why });

    if !path.starts_with(UNSAFE_HOME) {
        for &line in &reading.unsafes {
            say(Rule::Unsafe, line, format!("unsafe code lives in {UNSAFE_HOME} only"));
        }
    }
    let length = source.lines().count() - reading.test_lines;
    if length > LONGEST_FILE && !tests {
        say(Rule::Size, 1, format!("{length} lines without tests; the limit is {LONGEST_FILE}"));
    }
    if path == "src/lib.rs" {
        return all;
    }
    let Some(layer) = LAYERS.iter().find(|layer| Some(layer.name) == module.first().map(String::as_str))
    else {
        say(Rule::Arrow, 1, "lies in no layer".into());
        return all;
    };
    for found in &reading.paths {
        if let Some(why) = arrow(layer, &module, found) {
            say(Rule::Arrow, found.line, why);
        }
        if let Some(why) = reaches_out(layer, dependencies, found).filter(|_| !found.in_tests) {
            say(Rule::World, found.line, why);
        }
    }
    if matches!(layer.crates, Crates::Pure(_)) {
        for (name, line) in reading.macros.iter().filter(|(name, _)| PRINTING.contains(&name.as_str())) {
            say(Rule::World, *line, format!("{} must not print (`{name}!`)", layer.name));
        }
    }
    all
}

/// Every source file under `src/`, as (`src/…` path, text).
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources are there") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let inner =
                    path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push((inner, fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    files.sort();
    files
}

/// No file under `src/` breaks `rule`.
fn holds(rule: Rule) {
    let files = sources();
    assert!(files.iter().any(|(path, _)| path == "src/base/mod.rs"), "looked in the wrong place: {files:?}");
    let listed = dependencies();
    let found: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| offences(path, text, &listed))
        .filter(|offence| offence.rule == rule)
        .map(|offence| offence.to_string())
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// A layer names only layers below it, and no policy names another.
#[test]
fn arrows_only_point_down() {
    holds(Rule::Arrow);
}

/// The layers that decide name no clock, thread, file, socket, or crate that would bring one.
#[test]
fn the_core_does_not_reach_out() {
    holds(Rule::World);
}

/// Unsafe code, and every permission for it, is in one folder.
#[test]
fn unsafe_code_has_one_home() {
    holds(Rule::Unsafe);
}

/// No file grew past what one can read in a sitting.
#[test]
fn files_stay_readable() {
    holds(Rule::Size);
}

/// The rules that one made-up file breaks.
fn broken(path: &str, text: &str) -> Vec<Rule> {
    let listed = ["tokio", "pyo3", "parking_lot", "proptest"].map(Into::into);
    let mut rules: Vec<Rule> = offences(path, text, &listed).iter().map(|offence| offence.rule).collect();
    rules.dedup();
    rules
}

/// Each way of pointing up or sideways is seen, however the path is spelled.
#[test]
fn an_arrow_up_is_caught() {
    for (path, text) in [
        ("src/base/time.rs", "use crate::window::Count;"),
        ("src/base/time.rs", "use crate::{base::Dice, runtime};"),
        ("src/base/time.rs", "use crate::*;"),
        ("src/base/time.rs", "use crate as everything;"),
        ("src/base/time.rs", "use crate::Retry;"),
        ("src/window/mod.rs", "fn f() { let n = super::pool::Node::new(); }"),
        ("src/window/count.rs", "mod tests { use super::super::super::policy; }"),
        ("src/policy/breaker/mod.rs", "use crate::policy::retry::Retry;"),
        ("src/policy/breaker/trip.rs", "use super::super::retry::{self, Backoff};"),
        ("src/policy/timeout.rs", "use super::*;"),
        ("src/policy/timeout.rs", "use crate::policy;"),
        ("src/pool/node.rs", "macro_rules! m { () => { $crate::policy::breaker::Cell } }"),
        ("src/runtime/mod.rs", "impl From<Vec<crate::python::X>> for Y {}"),
        ("src/pipeline/execution.rs", "use crate::{policy::{breaker, retry}, runtime::{clock::Clock}};"),
        ("src/helpers.rs", ""),
    ] {
        assert_eq!(broken(path, text), [Rule::Arrow], "{path}: {text}");
    }
}

/// Each way of naming the outside world from a layer that decides is seen.
#[test]
fn a_core_that_reaches_out_is_caught() {
    for (path, text) in [
        ("src/base/rng.rs", "use parking_lot::Mutex;"),
        ("src/base/rng.rs", "use std::{sync::Arc, thread};"),
        ("src/window/mod.rs", "fn f() { std::fs::read(p); }"),
        ("src/policy/retry/mod.rs", "use std::net::*;"),
        ("src/policy/retry/mod.rs", "fn f() -> Time { Instant::now() }"),
        ("src/policy/retry/mod.rs", "use std::time::SystemTime;"),
        ("src/pool/node.rs", "use ::tokio::sync::Notify;"),
        ("src/pool/node.rs", "use tokio;"),
        ("src/pool/node.rs", "#[tokio::main] fn main() {}"),
        ("src/pool/node.rs", "use proptest::prelude::*;"),
        ("src/pipeline/mod.rs", r#"fn f() { println!("here"); }"#),
        ("src/pipeline/mod.rs", "#[cfg(not(test))] fn f() { std::thread::yield_now(); }"),
        ("src/runtime/mod.rs", "use pyo3::prelude::*;"),
    ] {
        assert_eq!(broken(path, text), [Rule::World], "{path}: {text}");
    }
}

/// Unsafe code and permissions for it are seen outside their folder, and a long file is seen anywhere.
#[test]
fn unsafe_code_and_long_files_are_caught() {
    for (path, text) in [
        ("src/runtime/clock.rs", "fn f() { unsafe { g() } }"),
        ("src/python/types.rs", "unsafe impl Send for X {}"),
        ("src/python/mod.rs", "#[allow(unsafe_code)] mod call;"),
        ("src/lib.rs", "#![allow(unsafe_code)]"),
    ] {
        assert_eq!(broken(path, text), [Rule::Unsafe], "{path}: {text}");
    }
    let long = "fn f() {}\n".repeat(LONGEST_FILE + 1);
    assert_eq!(broken("src/python/call/sync.rs", &long), [Rule::Size]);
}

/// What is allowed passes: arrows down, one's own folder, words in prose, and the freedom of tests.
#[test]
fn what_is_allowed_passes() {
    for (path, text) in [
        ("src/lib.rs", "#![cfg_attr(not(feature = \"python\"), forbid(unsafe_code))] pub mod base;"),
        (
            "src/base/time.rs",
            "//! Not `crate::runtime`.\npub(crate) const S: &str = \"std::thread\"; // unsafe",
        ),
        ("src/base/time.rs", "pub(super) fn f(tokio: u8) -> u8 { tokio }"),
        ("src/window/count.rs", "use crate::base::{Time, time}; use super::ewma; use std::time::Duration;"),
        ("src/policy/mod.rs", "pub mod retry; pub use retry::Retry; pub use self::breaker::Cell;"),
        (
            "src/policy/breaker/state.rs",
            "use super::{permit::Permit, super::breaker::trip}; use parking_lot::Mutex;",
        ),
        ("src/runtime/clock.rs", "use crate::pipeline::Step; use tokio::time; fn f() { Instant::now(); }"),
        ("src/python/call/sync.rs", "#![allow(unsafe_code)] fn f() { unsafe { g() } }"),
        (
            "src/policy/breaker/cell.rs",
            "#[cfg(test)] mod tests { use super::*; use std::thread; use proptest::x; }",
        ),
        (
            "src/policy/breaker/tests.rs",
            "use super::*; fn f() { println!(\"{:?}\", std::thread::current()); }",
        ),
    ] {
        assert_eq!(broken(path, text), [], "{path}: {text}");
    }
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(LONGEST_FILE));
    assert_eq!(broken("src/base/time.rs", &tests), []);
}
