//! A step allocates nothing, on either side, in frames or in shared memory.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use envpool::cli::Arguments;
use envpool::client::converse;
use envpool::config::Config;
use envpool::served::Served;
use envpool::stop::Gate;
use wire::{Actions, Carrier, Client, Open, Transport};

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing() {
    let arguments = ["envpool", "table", "--market", "nse", "--envs", "2048", "--episode-len", "7"];
    let config = Config::new(&Arguments::try_parse_from(arguments).unwrap().serve).unwrap();
    let table = trading_env::testing::random_walk_table(2, 40, 25, 8, 1);
    let served = Served::market(&table, &config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let reader = stream.try_clone().unwrap();
            // Inside the pool, as on standard input and output: the queue by which rayon is handed work from
            // outside takes a block of memory for every few dozen jobs.
            rayon::scope(|_| converse(&served, &Gate::default(), Carrier::Socket, reader, stream, |_| ()))
                .unwrap();
        }
    });
    let address = format!("unix:{}", path.display());
    for transport in [Transport::Inline, Transport::Shared] {
        // One thread steps the small batch, all of them the large one.
        for n_envs in [16, 2048] {
            let mut client =
                Client::connect_over(&address, Duration::from_secs(20), "test", transport).unwrap();
            partial_steps(&mut client, n_envs, transport);
            let mut session = client.open(&Open::training(n_envs, 1)).unwrap();
            client.reset(&mut session).unwrap();
            let actions: Vec<i32> = (0..n_envs as i32).map(|env| env % 3).collect();
            let mut n_finished = 0;
            let mut step = |n_steps: usize| {
                for _ in 0..n_steps {
                    client.step(&mut session, Actions::Discrete(&actions)).unwrap();
                    n_finished += session.slab().n_finished();
                }
            };
            step(50);
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            step(200);
            let after = ALLOCATIONS.load(Ordering::Relaxed);
            assert!(n_finished > 0, "episodes end among them");
            assert_eq!(after - before, 0, "{transport:?}, {n_envs} environments");
        }
    }
}

/// The same of steps of a quarter of the environments, four of them in flight.
fn partial_steps(client: &mut Client, n_envs: u32, transport: Transport) {
    let batch = n_envs / 4;
    let mut session = client.open(&Open { batch, ..Open::training(n_envs, 1) }).unwrap();
    let parts: Vec<Vec<u32>> = (0..4).map(|part| (part * batch..(part + 1) * batch).collect()).collect();
    for part in &parts {
        client.reset_some(&mut session, part, &[]).unwrap();
    }
    let actions: Vec<i32> = (0..batch as i32).map(|env| env % 3).collect();
    let mut n_finished = 0;
    let mut step = |n_steps: usize| {
        for _ in 0..n_steps {
            for part in &parts {
                client.send_some(&mut session, part, Actions::Discrete(&actions)).unwrap();
            }
            for _ in &parts {
                client.receive(&mut session).unwrap();
                n_finished += session.slab().n_finished();
            }
        }
    };
    step(50);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    step(200);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(n_finished > 0, "episodes end among them");
    assert_eq!(after - before, 0, "{transport:?}, {batch} of {n_envs} environments");
    client.close(session).unwrap();
}
