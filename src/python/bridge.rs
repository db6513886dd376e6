//! Native work awaited from asyncio, on our own runtime: it starts lazily and survives a fork, which the
//! bridge library's own would not.
//!
//! Never on the path of a call: the hop into the runtime and back costs more than most calls (100 µs).

use std::any::Any;
use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;

use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{self, ContextExt, JoinError, Runtime};

use super::heartbeat::no_thread;
use crate::runtime::engine;

tokio::task_local! {
    static LOCALS: OnceCell<TaskLocals>;
}

struct Engine;

/// A task that did not end well; none: the runtime was gone before it began.
struct Lost(Option<tokio::task::JoinError>);

type Joined = Pin<Box<dyn Future<Output = Result<(), Lost>> + Send>>;

impl JoinError for Lost {
    fn is_panic(&self) -> bool {
        self.0.as_ref().is_some_and(tokio::task::JoinError::is_panic)
    }

    fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.0.map_or_else(|| Box::new("the runtime is gone") as _, tokio::task::JoinError::into_panic)
    }
}

impl Runtime for Engine {
    type JoinError = Lost;
    type JoinHandle = Joined;

    fn spawn<F>(future: F) -> Joined
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match engine::spawn(future) {
            Ok(task) => Box::pin(async move { task.await.map_err(|error| Lost(Some(error))) }),
            Err(_gone) => Box::pin(std::future::ready(Err(Lost(None)))),
        }
    }

    fn spawn_blocking<F>(work: F) -> Joined
    where
        F: FnOnce() + Send + 'static,
    {
        let task = tokio::task::spawn_blocking(work);
        Box::pin(async move { task.await.map_err(|error| Lost(Some(error))) })
    }
}

impl ContextExt for Engine {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(OnceCell::from(locals), future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(|cell| cell.get().cloned()).unwrap_or_default()
    }
}

/// An awaitable of the running asyncio loop for native work.
pub fn future_into_py<F, T>(py: Python<'_>, work: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'p> IntoPyObject<'p> + Send + 'static,
{
    // A runtime that cannot be started is said here; later there would be nobody to tell.
    engine::spawn(async {}).map_err(|error| no_thread(&error))?;
    generic::future_into_py::<Engine, _, _>(py, work)
}
