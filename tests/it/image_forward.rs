//! A way over TCP that a test lays, cuts and leads elsewhere; also into the network namespace of another process.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    process::Command,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    io::copy_bidirectional,
    net::{self, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Takes connections and leads them to an address.
pub struct Forward {
    pub address: SocketAddr,
    to: watch::Sender<Option<String>>,
    task: JoinHandle<()>,
}

impl Forward {
    /// From a port of this host.
    pub fn start(to: &str) -> Self {
        Self::from(TcpListener::bind("127.0.0.1:0").unwrap(), to)
    }

    /// From a port on the loopback of the network namespace that this process is in.
    pub fn inside(pid: &str, to: &str) -> Self {
        let namespace = format!("/proc/{pid}/ns/net");
        let up = Command::new("nsenter")
            .arg(format!("--net={namespace}"))
            .args(["--", "ip", "link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        // On a thread of its own, which stays there.
        let listening = thread::spawn(move || {
            let namespace = File::open(namespace).unwrap();
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            TcpListener::bind("127.0.0.1:0").unwrap()
        });
        Self::from(listening.join().unwrap(), to)
    }

    fn from(listener: TcpListener, to: &str) -> Self {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = net::TcpListener::from_std(listener).unwrap();
        let to = watch::Sender::new(Some(to.to_owned()));
        let leads = to.subscribe();
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut leads = leads.clone();
                tokio::spawn(async move {
                    let Some(to) = leads.borrow_and_update().clone() else {
                        return;
                    };
                    let passing = async {
                        let mut far = TcpStream::connect(to).await?;
                        copy_bidirectional(&mut near, &mut far).await
                    };
                    tokio::select! {
                        _ = passing => {}
                        _ = leads.changed() => {}
                    }
                });
            }
        });
        Self { address, to, task }
    }

    /// Cuts every connection, and takes none.
    pub fn cut(&self) {
        self.to.send_replace(None);
    }

    /// Leads new connections there, and cuts those that are open.
    pub fn lead(&self, to: &str) {
        self.to.send_replace(Some(to.to_owned()));
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}
