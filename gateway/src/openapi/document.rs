//! Makes the document from the table of routes.

use std::collections::BTreeMap;

use bytes::Bytes;
use carelink_platform::errors::Reason;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    answer::Surface,
    routes::{Access, Endpoint, Operation, Parameter, SchemaOf, Told},
};

const ABOUT: &str = "Signs people in, keeps them signed in for a shift, and signs them out everywhere. Under `/v1` refusals are RFC 9457 \
                     problems with a stable `code`; under `/account` the predecessor's clients find what they know. Every answer carries \
                     its trace id.";

/// Schemas of what is read and of what is told: a member that may be left out of one may have to be in the other.
struct Schemas {
    read: SchemaGenerator,
    told: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self { read: settings().for_deserialize().into_generator(), told: settings().for_serialize().into_generator() }
    }

    fn read(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.read).to_value()
    }

    fn told(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.told).to_value()
    }

    fn all(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        all.extend(self.told.take_definitions(true));
        all
    }
}

/// The whole document, as it is served.
pub(crate) fn made(endpoints: &[Endpoint]) -> Bytes {
    let mut schemas = Schemas::new();
    let (mut paths, mut tags) = (Map::new(), Vec::new());
    for endpoint in endpoints {
        let mut operations = Map::new();
        for operation in &endpoint.operations {
            if !tags.contains(&operation.tag) {
                tags.push(operation.tag);
            }
            operations.insert(operation.method.as_str().to_lowercase(), described(&mut schemas, endpoint.surface, operation));
        }
        paths.insert(endpoint.served_at.clone(), Value::Object(operations));
    }
    let mut shapes = schemas.all();
    shapes.insert("Problem".to_owned(), problem());
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "CareLink", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags.iter().map(|tag| json!({"name": tag})).collect::<Value>(),
        "paths": paths,
        "components": {
            "schemas": shapes,
            "headers": headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": crate::v1::cookies::ACCESS,
                    "description": "A browser's session; methods that change something need `Sec-Fetch-Site: same-origin` or the exact `Origin`"},
            },
        },
    });
    Bytes::from(document.to_string())
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail", "code", "trace_id"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "description": "Stable; docs/ERRORS.md lists them all"},
            "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        },
    })
}

fn headers() -> Value {
    let text = |about: &str| json!({"description": about, "schema": {"type": "string"}});
    json!({
        "X-Trace-Id": text("By which this request is found in logs and in the trail"),
        "Retry-After": {"description": "Seconds after which it is worth trying again", "schema": {"type": "integer", "minimum": 1}},
        "RateLimit-Policy": text("The budget that is used up, where one is"),
        "RateLimit": text("What is left of it, and for how long"),
        "WWW-Authenticate": text("By which scheme one would be let in"),
    })
}

fn described(schemas: &mut Schemas, surface: Surface, operation: &Operation) -> Value {
    let mut told = json!({"operationId": operation.name, "tags": [operation.tag], "summary": operation.summary});
    let mut set = |name: &str, value: Value| told.as_object_mut().map(|members| members.insert(name.to_owned(), value));
    if !operation.about.is_empty() {
        set("description", operation.about.into());
    }
    let security = if operation.secured { json!([{"bearer": []}, {"cookie": []}]) } else { json!([]) };
    set("security", if operation.secured && surface == Surface::Account { json!([{"bearer": []}]) } else { security });
    if let Access::Role(roles, _) = operation.access {
        set("x-roles", json!(roles));
    }
    if !operation.parameters.is_empty() {
        let parameter = |parameter: &Parameter| {
            json!({
                "name": parameter.name, "in": parameter.within, "required": parameter.required, "description": parameter.about,
                "schema": schemas.read(parameter.schema),
            })
        };
        set("parameters", operation.parameters.iter().map(parameter).collect());
    }
    if let Some(body) = &operation.body {
        let mut schema = schemas.read(body.schema);
        if let Some((from, to)) = &body.renamed {
            schema = rename(schema, from, to);
        }
        let content: Map<_, _> = body.types.iter().map(|kind| ((*kind).to_owned(), json!({"schema": schema}))).collect();
        set("requestBody", json!({"required": body.required, "content": content}));
    }
    set("responses", responses(schemas, surface, operation));
    told
}

/// A member that is configured to be called otherwise.
fn rename(mut schema: Value, from: &str, to: &str) -> Value {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut)
        && let Some(member) = properties.remove(from)
    {
        properties.insert(to.to_owned(), member);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.iter_mut().filter(|name| *name == from).for_each(|name| *name = to.into());
    }
    schema
}

fn responses(schemas: &mut Schemas, surface: Surface, operation: &Operation) -> Value {
    let mut responses: BTreeMap<u16, Value> = BTreeMap::new();
    for answer in &operation.answers {
        responses.insert(answer.status, response(schemas, answer));
    }
    if surface == Surface::Own {
        let mut reasons: BTreeMap<u16, Vec<Reason>> = BTreeMap::new();
        for reason in operation.reasons() {
            reasons.entry(reason.http()).or_default().push(reason);
        }
        for (status, reasons) in reasons {
            responses.insert(status, refused(status, &reasons));
        }
    }
    responses.insert(431, json!({"description": "The headers are too large; answered before anything else is known, without a body"}));
    Value::Object(responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect())
}

fn response(schemas: &mut Schemas, Told { status, about, content, headers }: &Told) -> Value {
    let mut sent = common(*status);
    for (name, about) in *headers {
        sent.insert((*name).to_owned(), json!({"description": about, "schema": {"type": "string"}}));
    }
    match content {
        Some((kind, schema)) => json!({"description": about, "headers": sent, "content": {*kind: {"schema": schemas.told(*schema)}}}),
        None => json!({"description": about, "headers": sent}),
    }
}

fn refused(status: u16, reasons: &[Reason]) -> Value {
    let codes: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
    let words: Vec<String> = reasons.iter().map(|reason| format!("`{reason}`: {}", reason.title())).collect();
    let schema = json!({"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"code": {"enum": codes}}}]});
    json!({"description": words.join("\n"), "headers": common(status), "content": {"application/problem+json": {"schema": schema}}})
}

/// Headers that go with a status.
fn common(status: u16) -> Map<String, Value> {
    let names: &[&str] = match status {
        401 => &["X-Trace-Id", "WWW-Authenticate"],
        429 => &["X-Trace-Id", "Retry-After", "RateLimit-Policy", "RateLimit"],
        503 => &["X-Trace-Id", "Retry-After"],
        _ => &["X-Trace-Id"],
    };
    names.iter().map(|name| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))).collect()
}
