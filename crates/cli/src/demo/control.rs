//! The shop's switches as the server's API wants them.

use tracewell_demo::faults::{Fault, FaultState};
use tracewell_demo::{Control, FaultError, Switch};
use tracewell_server::demo::{DemoAttribute, DemoControl, DemoEdge, DemoFault, DemoState, DemoVerdict, SwitchError};

/// The shop beside the server.
pub struct Shop(pub Control);

impl DemoControl for Shop {
    fn state(&self) -> DemoState {
        DemoState {
            services: self.0.services(),
            instances: self.0.instances(),
            requests_per_second: self.0.requests_per_second(),
            chain: self.0.chain().into_iter().map(str::to_owned).collect(),
            faults: self.0.faults().into_iter().map(shown).collect(),
        }
    }

    fn switch(&self, name: &str, on: bool, setting: Option<&str>) -> Result<DemoFault, SwitchError> {
        let switch = Switch::new(name, setting).map_err(|error| match error {
            FaultError::Unknown { .. } => SwitchError::UnknownFault(error.to_string()),
            FaultError::Setting { .. } => SwitchError::InvalidSetting(error.to_string()),
        })?;
        Ok(shown(self.0.switch(switch, on)))
    }
}

fn shown(state: FaultState) -> DemoFault {
    let Fault { name, title, description, look, query, settings, services, .. } = *state.fault;
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    DemoFault {
        name: name.to_owned(),
        title: title.to_owned(),
        description: description.to_owned(),
        look: look.to_owned(),
        query: query.to_owned(),
        on: state.on,
        setting: state.setting.map(str::to_owned),
        settings: owned(settings),
        services: owned(services),
        verdict: verdict(state.fault),
    }
}

fn verdict(fault: &Fault) -> DemoVerdict {
    let expected = &fault.expected;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    DemoVerdict {
        sentence: expected.sentence.to_owned(),
        kind: expected.kind.as_str().to_owned(),
        service: owned(expected.service),
        edge: expected.edge.map(|edge| DemoEdge { caller: edge.caller.to_owned(), callee: edge.callee.to_owned() }),
        direction: expected.direction.map(|direction| direction.as_str().to_owned()),
        operation: owned(expected.operation),
        statement: owned(expected.statement),
        attribute: expected
            .attribute
            .map(|(key, value)| DemoAttribute { key: key.to_owned(), value: value.to_owned() }),
    }
}
