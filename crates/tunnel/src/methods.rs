//! What methods say of themselves in their options, read from a descriptor set.

use std::{collections::HashMap, sync::Arc};

use prost::Message;

use crate::proto::CallClass;

/// What a method tells the tunnel about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// How its calls are scheduled.
    pub class: CallClass,
    /// A call changes nothing, so that starting it twice harms nobody.
    pub no_side_effects: bool,
}

/// Treats a method that nobody described: interactive, with side effects.
impl Default for Method {
    fn default() -> Self {
        Self {
            class: CallClass::Interactive,
            no_side_effects: false,
        }
    }
}

/// The methods of a set of services, by path. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Methods(Arc<HashMap<String, Method>>);

impl Methods {
    /// Reads the options of every method in an encoded `google.protobuf.FileDescriptorSet`.
    pub fn from_descriptor_set(encoded: &[u8]) -> Result<Self, prost::DecodeError> {
        let set = FileSet::decode(encoded)?;
        let mut methods = HashMap::new();
        for file in set.files {
            for service in file.services {
                for method in service.methods {
                    let path = format!("/{}.{}/{}", file.package, service.name, method.name);
                    methods.insert(path, method.options.unwrap_or_default().into());
                }
            }
        }
        Ok(Self(Arc::new(methods)))
    }

    /// Returns what the method with this path ("/package.Service/Method") says.
    pub fn get(&self, path: &str) -> Method {
        self.0.get(path).copied().unwrap_or_default()
    }

    /// Tells whether a method with this path was described.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

// Just the fields that matter of the messages in google/protobuf/descriptor.proto: prost's own types
// would drop the extension.

#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<ServiceEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceEntry {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<MethodEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct MethodEntry {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    /// google.protobuf.MethodOptions.IdempotencyLevel; 1 is NO_SIDE_EFFECTS.
    #[prost(int32, tag = "34")]
    idempotency_level: i32,
    #[prost(enumeration = "CallClass", tag = "50718")]
    class: i32,
}

impl From<Options> for Method {
    fn from(options: Options) -> Self {
        Self {
            class: match options.class() {
                CallClass::Bulk => CallClass::Bulk,
                CallClass::Interactive | CallClass::Unspecified => CallClass::Interactive,
            },
            no_side_effects: options.idempotency_level == 1,
        }
    }
}
