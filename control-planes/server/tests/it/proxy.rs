//! A TCP proxy before the control plane, which counts what it carries and cuts when it is told to.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// A connection that has carried more than this is past its upgrade and its greeting: it carries calls.
pub const GREETING: u64 = 4096;

/// Which way the bytes go that are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whom dialled: an agent's answers.
    Up,
    /// To whom dialled: what a caller is answered.
    Down,
}

pub struct Proxy {
    pub url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    open: Vec<Open>,
    accepted: usize,
    carried: u64,
    /// Connections that have carried calls.
    live: usize,
}

struct Open {
    number: usize,
    near: TcpStream,
    far: TcpStream,
    carried: u64,
}

impl Proxy {
    pub fn to(address: &str, direction: Direction) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::new(Counts::default());
        let (kept, address) = (Arc::clone(&counts), address.to_owned());
        // Ends with the test's process: nothing connects any more.
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                // Without a control plane there is nothing to lead to: the connection is closed at once.
                let Ok(far) = TcpStream::connect(&address) else {
                    continue;
                };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let number = kept.accepted(&near, &far);
                let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (up, down) = (Arc::clone(&kept), Arc::clone(&kept));
                thread::spawn(move || {
                    pass(near, far, |length| {
                        if direction == Direction::Up {
                            up.passed(number, length);
                        }
                    });
                });
                thread::spawn(move || {
                    pass(far2, near2, |length| {
                        if direction == Direction::Down {
                            down.passed(number, length);
                        }
                    });
                });
            }
        });
        Self { url, counts }
    }

    /// Cuts every connection; how many of them carried calls.
    pub fn cut(&self) -> usize {
        let open = std::mem::take(&mut self.counts.now.lock().unwrap().open);
        for connection in &open {
            let _ = connection.near.shutdown(Shutdown::Both);
            let _ = connection.far.shutdown(Shutdown::Both);
        }
        open.iter().filter(|open| open.carried > GREETING).count()
    }

    /// Bytes that all connections have carried.
    pub fn carried(&self) -> u64 {
        self.counts.now.lock().unwrap().carried
    }

    /// Connections that have carried calls.
    pub fn live(&self) -> usize {
        self.counts.now.lock().unwrap().live
    }

    /// Waits until so many bytes have been carried in all, and an open connection carries calls. Whether
    /// that was so within this time.
    pub fn carries(&self, bytes: u64, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut now = self.counts.now.lock().unwrap();
        loop {
            if now.carried >= bytes && now.open.iter().any(|open| open.carried > GREETING) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            now = self.counts.changed.wait_timeout(now, left).unwrap().0;
        }
    }
}

impl Counts {
    fn accepted(&self, near: &TcpStream, far: &TcpStream) -> usize {
        let mut now = self.now.lock().unwrap();
        now.accepted += 1;
        let number = now.accepted;
        now.open.push(Open {
            number,
            near: near.try_clone().unwrap(),
            far: far.try_clone().unwrap(),
            carried: 0,
        });
        number
    }

    fn passed(&self, number: usize, length: usize) {
        let length = length as u64;
        let mut now = self.now.lock().unwrap();
        now.carried += length;
        let mut became_live = false;
        if let Some(open) = now.open.iter_mut().find(|open| open.number == number) {
            became_live = open.carried <= GREETING && open.carried + length > GREETING;
            open.carried += length;
        }
        now.live += usize::from(became_live);
        self.changed.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, passed: impl Fn(usize)) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
        passed(length);
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
