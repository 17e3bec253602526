//! x
use std::time::Duration;
#[test]
fn a() {
    let rt = sisal::Runtime::builder().workers(1).build().unwrap();
    assert_eq!(rt.run(|| 1), 1);
    let v = rt.run(|| {
        let hs: Vec<_> = (0..1000).map(|i| sisal::spawn(move || { sisal::fiber::yield_now(); i })).collect();
        hs.into_iter().map(|h| h.join().unwrap()).sum::<i32>()
    });
    assert_eq!(v, 499500);
    rt.run(|| sisal::fiber::sleep(Duration::from_millis(5)));
    drop(rt);
    let rt = sisal::Runtime::builder().workers(3).build().unwrap();
    let v = rt.run(|| {
        let hs: Vec<_> = (0..1000).map(|i| sisal::spawn(move || { sisal::fiber::sleep(Duration::from_millis(i%7)); i })).collect();
        hs.into_iter().map(|h| h.join().unwrap()).sum::<u64>()
    });
    assert_eq!(v, 499500);
    struct D(std::sync::Arc<std::sync::atomic::AtomicUsize>);
    impl Drop for D { fn drop(&mut self) { self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst); } }
    let n = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let hs: Vec<_> = (0..100).map(|_| { let d = D(n.clone()); rt.spawn(move || { let _d = d; sisal::fiber::park() }) }).collect();
    drop(rt);
    assert_eq!(n.load(std::sync::atomic::Ordering::SeqCst), 100);
    for h in hs { assert!(h.join().unwrap_err().is_cancelled()); }
}
