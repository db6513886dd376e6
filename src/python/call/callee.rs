//! What an attempt calls: one function, or a node's target.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::iter;
use std::sync::Arc;

use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::raw::Visitor;
use crate::base::{ConfigError, NodeId, Rejection, RejectionKind, Source};
use crate::pipeline::Attempt;
use crate::python::errors;

/// The four colours of callables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// A function that returns its answer.
    Function,
    /// A function whose answer is awaited.
    Coroutine,
    /// A function whose answer is iterated.
    Generator,
    /// A function whose answer is iterated asynchronously.
    AsyncGenerator,
}

impl Colour {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Coroutine => "coroutine",
            Self::Generator => "generator",
            Self::AsyncGenerator => "async_generator",
        }
    }

    /// The colour called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "function" => Some(Self::Function),
            "coroutine" => Some(Self::Coroutine),
            "generator" => Some(Self::Generator),
            "async_generator" => Some(Self::AsyncGenerator),
            _ => None,
        }
    }
}

/// One node as Python sees it: the `Node`, and its target as a callable of each colour it has.
#[derive(Debug)]
pub struct NodeTargets {
    /// The `holdfast.Node`.
    pub node: Py<PyAny>,
    /// By colour, in the order of [`Colour`]; none where the target is not of that colour.
    pub callables: [Option<Py<PyAny>>; 4],
}

/// The targets of a manager's nodes. Every attempt looks here, hence the hash.
pub type Targets = RwLock<ByNode>;
type ByNode = HashMap<NodeId, Arc<NodeTargets>, BuildHasherDefault<ByNumber>>;

/// Spreads the numbers of nodes, which are our own: nobody can make them collide.
#[derive(Debug, Default)]
pub struct ByNumber(u64);

impl Hasher for ByNumber {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // 2⁶⁴ over the golden ratio (Knuth, The Art of Computer Programming, 6.4).
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What an attempt calls.
#[derive(Debug)]
pub enum Callee {
    /// This function.
    Function(Py<PyAny>),
    /// The picked node's own target, by colour.
    Target(Arc<Targets>, Colour),
    /// This function, with the picked `Node` before its arguments.
    WithNode(Py<PyAny>, Arc<Targets>),
}

impl Callee {
    /// Calls it, in the name of `pool` where it is a node's; `node` is the picked one, where that was looked up
    /// already. No lock is held while Python runs (R3).
    pub fn call<'py>(
        &self,
        py: Python<'py>,
        pool: &Source,
        attempt: &Attempt,
        node: Option<&Py<PyAny>>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Function(function) => function.bind(py).call(args, kwargs),
            Self::Target(targets, colour) => {
                let target = find(targets, attempt).ok_or_else(|| gone(py, pool))?;
                let callable = target.callables[*colour as usize].as_ref();
                callable.ok_or_else(|| wrong_colour(py, &target, *colour))?.bind(py).call(args, kwargs)
            }
            Self::WithNode(function, targets) => {
                let function = function.bind(py);
                if let Some(node) = node {
                    return with_first(function, node.bind(py), args, kwargs);
                }
                let target = find(targets, attempt).ok_or_else(|| gone(py, pool))?;
                with_first(function, target.node.bind(py), args, kwargs)
            }
        }
    }

    /// The picked `Node`, in a pool.
    pub fn node(&self, py: Python<'_>, attempt: &Attempt) -> Option<Py<PyAny>> {
        match self {
            Self::Function(_) => None,
            Self::Target(targets, _) | Self::WithNode(_, targets) => {
                let targets = targets.read();
                let target = targets.get(&picked(&targets, attempt)?)?;
                Some(target.node.clone_ref(py))
            }
        }
    }

    /// The user's function, where there is one.
    pub const fn function(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Function(function) | Self::WithNode(function, _) => Some(function),
            Self::Target(..) => None,
        }
    }

    /// For Python's garbage collector. The targets are visited by the manager that owns them.
    pub fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        self.function().map_or(Ok(()), |function| visit.call(function))
    }
}

/// Calls with `first` before the arguments.
fn with_first<'py>(
    function: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    // Few arguments need no tuple made for them.
    match (args.as_slice(), kwargs) {
        ([], None) => function.call1((first,)),
        ([one], None) => function.call1((first, one)),
        ([one, two], None) => function.call1((first, one, two)),
        (rest, _) => {
            let all: Vec<_> = iter::once(first).chain(rest).collect();
            function.call(PyTuple::new(args.py(), all)?, kwargs)
        }
    }
}

/// The picked node's targets; where nobody picks, because guards only pass calls on, the eldest node's.
fn find(targets: &Targets, attempt: &Attempt) -> Option<Arc<NodeTargets>> {
    let targets = targets.read();
    targets.get(&picked(&targets, attempt)?).cloned()
}

fn picked(targets: &ByNode, attempt: &Attempt) -> Option<NodeId> {
    attempt.node.or_else(|| targets.keys().min().copied())
}

/// The node left between the pick and the call: nobody was asked, so the call goes to another.
fn gone(py: Python<'_>, pool: &Source) -> PyErr {
    let mut left = Rejection::new(RejectionKind::NoNodeReady, "node_removed", None, pool.clone());
    left.detail = Some("the node that was picked has just left".into());
    errors::rejection(py, &left)
}

fn wrong_colour(py: Python<'_>, target: &NodeTargets, colour: Colour) -> PyErr {
    let rule = match colour {
        Colour::Function => "be sync to be used by call (use acall, or threads=True)",
        Colour::Coroutine => "be async to be used by acall (use call, or threads=True)",
        Colour::Generator => "be a generator function or a Runnable to be used by stream",
        Colour::AsyncGenerator => "be an async generator function or a Runnable to be used by astream",
    };
    let name = target.node.bind(py).getattr("name").map_or_else(|_| "node".into(), |n| n.to_string());
    errors::config(py, &ConfigError::new("target", rule, format!("the target of node '{name}'")))
}
