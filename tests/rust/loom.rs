#![cfg(loom)]
//! x
#[test]
fn t() {
    loom::model(|| {
        let _ = holdfast::window::Tagged::new();
    });
}
