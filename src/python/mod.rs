//! The language border: translation, and the native drivers.
//!
//! Python sees values and callables here; the core sees `(input, now, dice)`. Nothing is decided in this
//! layer. All unsafe code of the crate, where there is any, lives in `call/`.
//!
//! It deliberately does not hold the public API: `python/holdfast` does, and adds docstrings and types.
#![expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands the arguments of functions and methods over by value"
)]

mod balancer;
mod bridge;
mod call;
mod clock;
mod convert;
mod detector;
mod errands;
mod errors;
mod events;
mod heartbeat;
mod judge;
mod once;
mod policies;
mod pool;
mod switches;
mod trace;
mod views;

use pyo3::prelude::*;

/// Runs `act`, which may run Python code, where an exception may be on its way already: in a destructor,
/// which can run while the interpreter unwinds a frame. None at interpreter shutdown.
fn apart<R>(act: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    Python::try_attach(|py| {
        let on_its_way = PyErr::take(py);
        let result = act(py);
        if let Some(error) = on_its_way {
            error.restore(py);
        }
        result
    })
}

/// The native part of Holdfast. Use the names of `holdfast`, not these.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("EVENT_KINDS", pyo3::types::PyTuple::new(module.py(), events::kinds())?)?;
    module.add("STATE_CHANGES", pyo3::types::PyFrozenSet::new(module.py(), events::state_changes())?)?;

    module.add_class::<policies::CircuitBreaker>()?;
    module.add_class::<policies::BreakerMetrics>()?;
    module.add_class::<policies::Permit>()?;
    module.add_class::<policies::GuardStep>()?;
    module.add_class::<policies::Retry>()?;
    module.add_class::<policies::RetryBudget>()?;
    module.add_class::<policies::Backoff>()?;
    module.add_class::<policies::Timeout>()?;
    module.add_class::<policies::Chaos>()?;
    module.add_class::<policies::HedgePolicy>()?;
    module.add_class::<policies::ConcurrencyLimit>()?;
    module.add_class::<policies::LimitMetrics>()?;
    module.add_class::<policies::RateLimit>()?;
    module.add_class::<policies::RateMetrics>()?;
    module.add_class::<policies::Pipeline>()?;
    module.add_class::<pool::FailoverManager>()?;
    module.add_class::<detector::FailureDetector>()?;
    module.add_class::<views::NodeView>()?;
    module.add_class::<views::ManagerMetrics>()?;
    module.add_class::<views::Reliability>()?;
    module.add_class::<errands::Order>()?;
    call::Class::publish::<call::Guard>(module)?;
    call::Class::publish::<call::Awaitable>(module)?;
    call::Class::publish::<call::Stream>(module)?;
    call::Class::publish::<call::AsyncStream>(module)?;
    call::Class::publish::<call::StreamStep>(module)?;
    module.add_class::<call::Scope>()?;
    module.add_class::<call::Attempts>()?;
    module.add_class::<call::Race>()?;
    module.add_class::<call::Rest>()?;
    module.add_class::<call::Block>()?;
    module.add_class::<call::NextAttempt>()?;

    module.add_function(wrap_pyfunction!(call::deadline_scope, module)?)?;
    module.add_function(wrap_pyfunction!(call::priority_scope, module)?)?;
    module.add_function(wrap_pyfunction!(call::quicken_state, module)?)?;
    module.add_function(wrap_pyfunction!(call::pause, module)?)?;
    module.add_function(wrap_pyfunction!(call::apause, module)?)?;
    module.add_function(wrap_pyfunction!(switches::set_active, module)?)?;
    module.add_function(wrap_pyfunction!(switches::set_testing, module)?)?;
    module.add_function(wrap_pyfunction!(heartbeat::check_heartbeat, module)?)?;
    module.add_function(wrap_pyfunction!(heartbeat::check_recovery, module)?)?;
    module.add_function(wrap_pyfunction!(heartbeat::check_address, module)?)?;
    module.add_function(wrap_pyfunction!(heartbeat::ask, module)?)?;
    module.add_function(wrap_pyfunction!(heartbeat::aask, module)?)?;
    module.add_function(wrap_pyfunction!(errands::take_errands, module)?)?;
    module.add_function(wrap_pyfunction!(errands::close_errands, module)?)?;
    module.add_function(wrap_pyfunction!(events::set_interest, module)?)?;
    module.add_function(wrap_pyfunction!(trace::want_details, module)?)?;
    module.add_function(wrap_pyfunction!(events::last_event, module)?)?;
    module.add_function(wrap_pyfunction!(events::take_events, module)?)?;
    module.add_function(wrap_pyfunction!(events::close_events, module)?)?;
    module.add_function(wrap_pyfunction!(events::flush_events, module)?)?;
    module.add_function(wrap_pyfunction!(clock::now, module)?)?;
    module.add_function(wrap_pyfunction!(clock::wall, module)?)?;
    module.add_function(wrap_pyfunction!(clock::is_clock_manual, module)?)?;
    module.add_function(wrap_pyfunction!(clock::install_manual_clock, module)?)?;
    module.add_function(wrap_pyfunction!(clock::remove_manual_clock, module)?)?;
    module.add_function(wrap_pyfunction!(clock::advance_clock, module)?)?;
    module.add_function(wrap_pyfunction!(clock::clock_target, module)?)?;
    module.add_function(wrap_pyfunction!(clock::step_clock, module)?)?;
    module.add_function(wrap_pyfunction!(clock::clock_busy, module)?)?;
    module.add_function(wrap_pyfunction!(clock::before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(clock::after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(clock::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(clock::shutdown, module)?)?;
    call::make_classes(module.py());
    events::want_state_changes();
    trace::listen();
    Ok(())
}
