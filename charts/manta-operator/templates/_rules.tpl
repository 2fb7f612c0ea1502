{{/* What the operator may do in a namespace that it watches. A test compares with operator/manta_operator/permissions.py. */}}
{{- define "manta-operator.namespacedRules" -}}
- apiGroups: [manta.compute]
  resources: [mantaclusters]
  verbs: [get, list, watch]
- apiGroups: [manta.compute]
  resources: [mantajobs]
  verbs: [get, list, watch, delete]
- apiGroups: [manta.compute]
  resources: [mantaclusters/status, mantajobs/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What it may do besides where it watches all namespaces: these have none. */}}
{{- define "manta-operator.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
{{- end }}

{{/* What it may do where its Lease is. A create has no name that a rule could look at. */}}
{{- define "manta-operator.leaderRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "manta-operator.name" . }}]
  verbs: [get, update]
{{- end }}
