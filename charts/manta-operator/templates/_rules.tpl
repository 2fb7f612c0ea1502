{{/* Made from operator/manta_operator/permissions.py by tools/chart_rules.py; a test compares. Change the table, not this. */}}

{{/* In each namespace that is watched. */}}
{{- define "manta-operator.namespacedRules" -}}
- apiGroups: [manta.compute]
  resources: [mantaclusters]
  verbs: [get, list, watch]
- apiGroups: [manta.compute]
  resources: [mantaclusters/status, mantajobs/status]
  verbs: [patch]
- apiGroups: [manta.compute]
  resources: [mantaclusters/finalizers]
  verbs: [update]
- apiGroups: [manta.compute]
  resources: [mantajobs]
  verbs: [delete, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [secrets, services, persistentvolumeclaims, serviceaccounts]
  verbs: [create, get, list, patch, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list, watch]
{{- end }}

{{/* Besides, where all namespaces are watched: these are in none. */}}
{{- define "manta-operator.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end }}

{{/* Where the Lease is. A create has no name that a rule could look at. */}}
{{- define "manta-operator.leaderRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "manta-operator.name" . }}]
  verbs: [get, update]
{{- end }}
